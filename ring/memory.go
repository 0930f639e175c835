package ring

// Memory is the memory of a ring, as a [Reader] and [MapMemory] have it. Its bytes
// stay addressable while it is reachable, though Close takes the ring away from
// behind them.
type Memory interface {
	Bytes() []byte
	Close() error
}

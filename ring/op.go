package ring

// op is a kind of step on a slot's status word.
type op uint8

const (
	opLoadStatus op = iota
	opStoreStatus
)

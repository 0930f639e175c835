package ring

// Totals counts every packet offered to a socket since it was made, by its fate.
type Totals struct {
	Filtered uint64 // refused by the socket's filter
	Captured uint64 // written into a ring or, without one, queued
	Drops    Drops
}

// Dropped is the sum of the drops.
func (t Totals) Dropped() uint64 { return t.Drops.Sum() }

// Offered is the sum of all: each packet offered is counted once.
func (t Totals) Offered() uint64 { return t.Filtered + t.Captured + t.Dropped() }

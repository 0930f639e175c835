package fleet

// Losses are packets that a far device's tap was offered, or that were lost before it, and that
// are not delivered here. Each has one place.
type Losses struct {
	BeforeDevice uint64 // before the far device, such as in the ring of the far kernel
	FarRing      uint64 // the ring of the session's tap was full
	Transit      uint64 // between the far ring and here
	Retention    uint64 // deleted from the recording before they were read
}

func (l Losses) sum() uint64 { return l.BeforeDevice + l.FarRing + l.Transit + l.Retention }

func (l *Losses) add(m Losses) {
	l.BeforeDevice += m.BeforeDevice
	l.FarRing += m.FarRing
	l.Transit += m.Transit
	l.Retention += m.Retention
}

// ledger has what is known of a session's packets: each is delivered, or counted as lost.
type ledger struct {
	session string
	packets uint64 // delivered, or lost in transit; those before the reader opened it included
	dropped uint64
	lost    uint64
}

func newLedger(session string, c counts) *ledger {
	return &ledger{session, c.Packets, c.Dropped, c.Lost}
}

// settle returns what was lost according to the counts of a batch before its packets. Counts that
// decrease are ignored.
func (l *ledger) settle(c counts) Losses {
	advance := func(known *uint64, to uint64) (n uint64) {
		if to > *known {
			n, *known = to-*known, to
		}
		return n
	}
	return Losses{BeforeDevice: advance(&l.lost, c.Lost), FarRing: advance(&l.dropped, c.Dropped), Transit: advance(&l.packets, c.Packets)}
}

// close is settle at the end of the session, with its last counts: packets that it was offered and
// never published are lost.
func (l *ledger) close(c counts) Losses {
	accounted := c.Dropped + c.Lost
	c.Packets = max(c.Packets, c.Offered-min(accounted, c.Offered))
	return l.settle(c)
}

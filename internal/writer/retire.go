package writer

import (
	"time"

	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
)

// The retire timer hands a block that is not full to the reader. As Linux 6.18's it
// is periodic (earlier kernels restart it with each block): a block with packets
// waits one period at most.
//
// The timer does not run while a ring is idle. The units of the open word are parked
// then, so that a packet does not fit, takes the slow path, and starts the timer.
// Linux does not hand over an empty block either.

const (
	// parkAfter is the number of periods with an empty block after which the timer
	// stops.
	parkAfter = 8
	// frozenRetire is the shortest period while the ring is full. The timer then only
	// opens the next block, once the reader has handed it back, which a packet does as
	// well.
	frozenRetire = 20 * time.Millisecond
)

func (b *Blocks) startTimer() {
	if b.config.Retire > 0 {
		b.mu.Lock() // the timer may fire before b.timer is set
		b.timer = time.AfterFunc(b.config.Retire, b.tick)
		b.mu.Unlock()
	}
}

// tick runs when the timer fires.
func (b *Blocks) tick() {
	b.mu.Lock()
	retired := b.expireLocked()
	if next := b.periodLocked(); next > 0 {
		b.timer.Reset(next)
	}
	b.mu.Unlock()
	if retired {
		b.wake()
	}
}

// periodLocked is the time to the next tick; 0 stops the timer.
func (b *Blocks) periodLocked() time.Duration {
	o := b.open.Load()
	switch o & b.layout.units {
	case b.layout.closed(), b.layout.parked():
		return 0
	case b.layout.frozen():
		return max(b.config.Retire, frozenRetire)
	case b.first:
		if b.empty++; b.empty > parkAfter && b.parkLocked() {
			return 0
		}
	default:
		b.empty = 0
	}
	return b.config.Retire
}

// parkLocked has the next packet start the timer, if the open block is empty.
func (b *Blocks) parkLocked() bool {
	o := b.open.Load()
	return o&b.layout.units == b.first && b.open.CompareAndSwap(o, o&^b.layout.units|b.layout.parked())
}

// unparkLocked starts the timer for the first packet in the block of open word o.
func (b *Blocks) unparkLocked(o uint64) {
	b.empty = 0
	b.armLocked()
	b.open.Store(b.layout.begin(o, b.first))
}

// armLocked has the timer fire one period from now.
func (b *Blocks) armLocked() {
	if b.timer != nil {
		b.timer.Reset(b.config.Retire)
	}
}

// Expire does what the retire timer does: it retires the open block if there is a
// packet in it, and opens the next one if the reader has handed it back since.
func (b *Blocks) Expire() {
	b.mu.Lock()
	retired := b.expireLocked()
	b.mu.Unlock()
	if retired {
		b.wake()
	}
}

// expireLocked reports whether the reader got a block.
func (b *Blocks) expireLocked() (retired bool) {
	l := &b.layout
	for {
		slots.Again(0)
		o := b.open.Load()
		switch {
		case o&l.units == l.closed() || o&l.units == l.parked() || o&l.units == b.first:
			return false
		case o&l.units == l.frozen():
			b.unfreezeLocked(o)
			return false
		}
		if !b.open.CompareAndSwap(o, o&^l.units|l.moving()) {
			continue // another packet was reserved
		}
		v, retired := b.advanceLocked(o, blockTimeout)
		if v == ring.Acquired {
			b.open.Store(l.next(o, b.first))
		} else {
			b.open.Store(l.next(o, l.frozen()))
		}
		return retired
	}
}

package ring

import "time"

// The retire timer hands a block to the reader though it is not full. As Linux
// 6.18's it is periodic (earlier ones start it anew with each block): a block with
// packets waits one period at most.
//
// While a ring is idle the timer does not run. The open word says so: its units are
// parked, so that a packet finds no room, takes the slow path, and starts the timer.
// Linux does not hand over an empty block either.

const (
	// parkAfter is for how many periods the open block has been empty when the timer
	// stops.
	parkAfter = 8
	// frozenRetire is the least period while the ring is full. The timer then only
	// opens the next block, once the reader has handed it back, and a packet does so
	// as well.
	frozenRetire = 20 * time.Millisecond
)

func (b *Blocks) startTimer() {
	if b.config.Retire > 0 {
		b.mu.Lock() // the timer may fire before it has its name
		b.timer = time.AfterFunc(b.config.Retire, b.tick)
		b.mu.Unlock()
	}
}

// tick runs when the timer fires.
func (b *Blocks) tick() {
	b.mu.Lock()
	retired := b.expire()
	if next := b.period(); next > 0 {
		b.timer.Reset(next)
	}
	b.mu.Unlock()
	if retired {
		b.wake()
	}
}

// period is when the timer is to fire again, 0: it is not. The lock is held.
func (b *Blocks) period() time.Duration {
	o := b.open.Load()
	switch o & b.layout.units {
	case b.layout.closed(), b.layout.parked():
		return 0
	case b.layout.shut():
		return max(b.config.Retire, frozenRetire)
	case b.first:
		if b.empty++; b.empty > parkAfter && b.park() {
			return 0
		}
	default:
		b.empty = 0
	}
	return b.config.Retire
}

// park has the next packet start the timer, if the open block is empty. The lock is
// held.
func (b *Blocks) park() bool {
	o := b.open.Load()
	return o&b.layout.units == b.first && b.open.CompareAndSwap(o, o&^b.layout.units|b.layout.parked())
}

// unpark starts the timer for the first packet of fill o's block. The lock is held.
func (b *Blocks) unpark(o uint64) {
	b.empty = 0
	b.arm()
	b.open.Store(b.layout.begin(o, b.first))
}

// arm has the timer fire one period from now. The lock is held.
func (b *Blocks) arm() {
	if b.timer != nil {
		b.timer.Reset(b.config.Retire)
	}
}

// Expire is what the retire timer does: it retires the open block if a packet is
// in it, and opens one if the reader has made room since.
func (b *Blocks) Expire() {
	b.mu.Lock()
	retired := b.expire()
	b.mu.Unlock()
	if retired {
		b.wake()
	}
}

// expire is Expire with the lock held. It says whether the reader got a block.
func (b *Blocks) expire() (retired bool) {
	l := &b.layout
	for {
		again(0)
		o := b.open.Load()
		switch {
		case o&l.units == l.closed() || o&l.units == l.parked() || o&l.units == b.first:
			return false
		case o&l.units == l.shut():
			b.thaw(o)
			return false
		}
		if !b.open.CompareAndSwap(o, o&^l.units|l.moving()) {
			continue // one more packet went in
		}
		v, retired := b.advance(o, blockTimeout)
		if v == Acquired {
			b.open.Store(l.next(o, b.first))
		} else {
			b.open.Store(l.next(o, l.shut()))
		}
		return retired
	}
}

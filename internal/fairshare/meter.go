package fairshare

import (
	"math/rand/v2"
	"sync/atomic"
)

// Meter samples what writers spend on the packets of a socket, or of a fanout group, that has
// an [Account]. Writers use it concurrently; its zero value samples the next packet.
type Meter struct {
	left atomic.Int32 // packets until the next sample, which finds 0
	gap  atomic.Int32 // packets before it that it stands for, too
	mean atomic.Int64 // nanoseconds a packet, lately; 0: no sample yet
	last atomic.Int64 // nanoseconds a packet in the last sample
}

const (
	// maxGap is how many packets a sample stands for, on average, if they are cheap.
	maxGap = 32
	// exactFrom is what a packet costs from which on each is measured, in nanoseconds: to
	// read the clock twice takes 50.
	exactFrom = 2048
	// outlier is what one sample costs at most, in nanoseconds, unless the one before was as
	// dear: the system may have let another thread run in its middle.
	outlier = 500_000
	// standFor is what each of the packets that a sample stands for costs at most, likewise:
	// more than a program of 4096 instructions takes.
	standFor = 32_000
)

// Due reports whether the next packet is to be measured.
func (m *Meter) Due() bool { return m.left.Add(-1) == -1 }

// Sample charges its share for a packet that was measured, and for those that it stands for.
func (m *Meter) Sample(w Stopwatch) {
	t, nanoseconds := w.stop()
	w.share.charge(t, m.weigh(nanoseconds), w.exact)
}

// weigh returns what a packet that took so many nanoseconds is charged, with those that it
// stands for, and says when to measure next.
func (m *Meter) weigh(nanoseconds int64) int64 {
	taken, mean := m.note(1, nanoseconds)
	gap := int32(1)
	if most := int32(min(exactFrom/mean, maxGap)); most > 1 {
		gap = 1 + rand.Int32N(2*most-1) // nobody knows which packet is measured
	}
	before := int64(m.gap.Swap(gap - 1))
	meanwhile := int64(-1 - m.left.Swap(gap-1)) // by other writers
	return taken + (before+max(meanwhile, 0))*min(taken, standFor)
}

// Batch charges its share for n packets that were measured together.
func (m *Meter) Batch(n int64, w Stopwatch) {
	t, nanoseconds := w.stop()
	taken, _ := m.note(n, nanoseconds)
	w.share.charge(t, taken, w.exact)
}

// note returns what n packets are charged that took so many nanoseconds, and what one
// takes on average.
func (m *Meter) note(n, nanoseconds int64) (taken, mean int64) {
	taken = min(nanoseconds, max(outlier, 2*n*m.last.Swap(nanoseconds/n)))
	mean = taken / n
	if before := m.mean.Load(); before != 0 {
		mean = before + (mean-before)/8
	}
	mean = max(mean, 1)
	m.mean.Store(mean)
	return taken, mean
}

// Reset has the next packet measured: the filter is another one, say. It stands for those
// before it, too, lest packets are free of charge whose filter changes all the time.
func (m *Meter) Reset() { m.left.Store(0) }

package fairshare

import (
	"math/rand/v2"
	"sync/atomic"
)

// Meter samples the time that writers spend on the packets of a socket or fanout group.
// Writers use it concurrently; its zero value samples the next packet.
type Meter struct {
	left atomic.Int32 // packets until the next sample, which finds 0
	gap  atomic.Int32 // packets before it that it stands for, too
	mean atomic.Int64 // nanoseconds a packet, lately; 0: no sample yet
	last atomic.Int64 // nanoseconds a packet in the last sample
}

const (
	// maxGap is how many cheap packets a sample represents on average.
	maxGap = 32
	// exactFrom is the cost in nanoseconds from which each packet is measured: reading the
	// clock twice takes 50.
	exactFrom = 2048
	// outlier limits one sample, in nanoseconds, unless the one before was as large: another
	// thread may have run in its middle.
	outlier = 500_000
	// standFor limits the cost of each packet that a sample represents, likewise: it is more
	// than a program of 4096 instructions takes.
	standFor = 32_000
)

// Due reports whether the next packet must be measured.
func (m *Meter) Due() bool { return m.left.Add(-1) == -1 }

// Sample charges the stopwatch's share for a measured packet and those that it represents.
func (m *Meter) Sample(w Stopwatch) {
	t, nanoseconds := w.stop()
	w.share.charge(t, m.weigh(nanoseconds), w.exact)
}

// weigh returns the charge for a packet that took so many nanoseconds and for those that it
// represents, and schedules the next sample.
func (m *Meter) weigh(nanoseconds int64) int64 {
	taken, mean := m.note(1, nanoseconds)
	gap := int32(1)
	if most := int32(min(exactFrom/mean, maxGap)); most > 1 {
		gap = 1 + rand.Int32N(2*most-1) // senders cannot predict which packet is measured
	}
	before := int64(m.gap.Swap(gap - 1))
	meanwhile := int64(-1 - m.left.Swap(gap-1)) // by other writers
	return taken + (before+max(meanwhile, 0))*min(taken, standFor)
}

// Batch charges the stopwatch's share for n packets that were measured together.
func (m *Meter) Batch(n int64, w Stopwatch) {
	t, nanoseconds := w.stop()
	taken, _ := m.note(n, nanoseconds)
	w.share.charge(t, taken, w.exact)
}

// note returns the charge for n packets that took so many nanoseconds, and the average of one.
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

// Reset has the next packet measured, after a change of the filter, for example. The sample
// still represents the packets before it: a socket that keeps changing its filter must not
// avoid charges.
func (m *Meter) Reset() { m.left.Store(0) }

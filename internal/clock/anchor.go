package clock

import "time"

// reading is one of the system's clocks, and of the counter before and after that.
type reading struct {
	before, after uint64
	wall, mono    int64
}

// gap is how many ticks the reading took.
func (m *reading) gap() uint64 { return m.after - m.before }

// ticks is what the counter was when the clocks were read, give or take half of gap.
func (m *reading) ticks() uint64 { return m.before + m.gap()/2 }

// read returns the system's time, and anchors the clock with it unless another goroutine is
// doing that.
//
//go:noinline
func (r *realtime) read() int64 {
	m := reading{before: r.ticks()}
	m.wall, m.mono = r.system()
	m.after = r.ticks()
	if r.mu.TryLock() {
		if rate := r.rate.Load(); rate != 0 {
			r.anchorLocked(&m, rate)
		} else if !r.unused.Load() {
			r.calibrateLocked(&m)
		}
		r.mu.Unlock()
	}
	return m.wall
}

// anchorLocked makes the reading the anchor, unless its thread was preempted in the middle.
func (r *realtime) anchorLocked(m *reading, rate uint64) {
	if scale(m.gap(), rate) > maxGap {
		return
	}
	uptime := scale(m.ticks(), rate)
	begin, offset := uptime-window, m.wall-int64(uptime)
	if old := r.begin.Load(); old != 0 {
		r.compareLocked(int64(begin-old), offset-r.offset.Load())
	}
	r.begin.Store(changing) // these stores pair with the loads in at
	r.offset.Store(offset)
	r.begin.Store(begin)
}

const (
	// disagreement is how much distrust one causes; an agreement takes 1 away.
	disagreement = 8
	maxDistrust  = 8 * disagreement
)

// compareLocked compares two anchors. Where the clock drifts between them by more than slewing
// explains, time and again, the counter is no good, and no longer used. A clock that is stepped
// now and then does not matter.
func (r *realtime) compareLocked(elapsed, drift int64) {
	if abs(drift) <= 2*maxGap+abs(elapsed)/4 {
		r.distrust = max(r.distrust-1, 0)
		return
	}
	if r.distrust += disagreement; r.distrust >= maxDistrust {
		r.unused.Store(true)
		r.rate.Store(0)
	}
}

func abs(n int64) int64 { return max(n, -n) }

const (
	minBaseline = time.Millisecond
	maxBaseline = time.Second // so that the rate's computation does not overflow
	// precision is which part of the baseline a reading may take at most. The rate's error is no
	// larger: over the window it makes 8 ns.
	precision = 1024
)

// calibrateLocked computes the rate from two readings that are the baseline apart.
func (r *realtime) calibrateLocked(m *reading) {
	first := &r.first
	elapsed := time.Duration(m.mono - first.mono)
	ticks := m.ticks() - first.ticks()
	switch {
	case first.after == 0, elapsed > maxBaseline:
		*first = *m
	case elapsed < minBaseline:
	case first.gap() >= ticks/precision: // its thread was preempted
		*first = *m
	case m.gap() < ticks/precision:
		r.proposeLocked(uint64(elapsed) << 32 / ticks)
		*first = *m
	}
}

// proposeLocked sets the rate if two baselines in a row agree. In one, the machine may have been
// suspended, which stops CLOCK_MONOTONIC, but maybe not the counter.
func (r *realtime) proposeLocked(rate uint64) {
	if diff := abs(int64(rate - r.proposed)); uint64(diff) <= 4*rate/precision {
		r.rate.Store(rate)
	}
	r.proposed = rate
}

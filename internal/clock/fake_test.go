package clock

import (
	"math/bits"
	"time"
)

// machine is a fake: a processor's counter, and the clocks that its system derives from it.
type machine struct {
	hz       uint64
	booted   uint64        // the counter when the test begins
	elapsed  time.Duration // since then, by an ideal clock
	slewed   float64       // nanoseconds that CLOCK_REALTIME and CLOCK_MONOTONIC have gained
	slew     float64       // nanoseconds that they gain in one
	stepped  time.Duration // by CLOCK_REALTIME alone
	skew     uint64        // ticks that this processor's counter is ahead of the others'
	readTime time.Duration // what it takes to read the system's clocks
	pause    time.Duration // before the next reading has returned: its thread is preempted
}

const testEpoch = 1_800_000_000_000_000_000

func newMachine(hz uint64) *machine {
	return &machine{hz: hz, booted: 1 << 50, readTime: 40}
}

// clock returns the machine's clock, calibrated.
func (m *machine) clock() *realtime {
	r := &realtime{ticks: m.ticks, system: m.system}
	for range 4 {
		r.now()
		m.pass(minBaseline)
	}
	return r
}

// now is Now for any clock.
func (r *realtime) now() int64 {
	if rate := r.rate.Load(); rate != 0 {
		if t, ok := r.at(r.ticks(), rate); ok {
			return t
		}
	}
	if r.unused.Load() {
		t, _ := r.system()
		return t
	}
	return r.read()
}

func (m *machine) pass(d time.Duration) {
	m.elapsed += d
	m.slewed += float64(d) * m.slew
}

func (m *machine) ticks() uint64 {
	hi, lo := bits.Mul64(uint64(m.elapsed), m.hz)
	n, _ := bits.Div64(hi, lo, 1e9)
	return m.booted + n + m.skew
}

func (m *machine) mono() int64 { return int64(m.elapsed) + int64(m.slewed) }

func (m *machine) wall() int64 { return testEpoch + m.mono() + int64(m.stepped) }

func (m *machine) system() (wall, mono int64) {
	m.pass(m.readTime / 2)
	wall, mono = m.wall(), m.mono()
	m.pass(m.readTime/2 + m.pause)
	m.pause = 0
	return wall, mono
}

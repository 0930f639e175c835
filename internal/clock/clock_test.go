package clock

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// counters are the frequencies of some: processors' TSCs, and what arm64's boards have.
var counters = []uint64{2_445_000_000, 5_700_000_000, 1_000_000_000, 62_500_000, 19_200_000}

func eachCounter(t *testing.T, test func(t *testing.T, m *machine)) {
	for _, hz := range counters {
		t.Run(fmt.Sprint(hz, "Hz"), func(t *testing.T) { test(t, newMachine(hz)) })
	}
}

// tick is the counter's period, rounded up.
func (m *machine) tick() int64 { return int64(1e9/m.hz) + 1 }

// busy has packets arrive for d, up to 2 µs apart, and returns the largest error and by how much
// time went backwards.
func (m *machine) busy(r *realtime, d time.Duration) (largest, backwards int64) {
	var last int64
	for end := m.elapsed + d; m.elapsed < end; {
		before := m.wall()
		t := r.now()
		largest = max(largest, before-t, t-m.wall())
		backwards = max(backwards, last-t)
		last = t
		m.pass(time.Duration(rand.Int64N(2000)))
	}
	return largest, backwards
}

func TestTimeFollowsSlews(t *testing.T) {
	eachCounter(t, func(t *testing.T, m *machine) {
		r := m.clock()
		for _, slew := range []float64{0, 500e-6, -500e-6, 0.1, -0.1, 0} { // adjtimex's largest frequency and tick
			limit := int64(8200*max(math.Abs(m.slew), math.Abs(slew))) + m.readTime.Nanoseconds() + 2*m.tick() + 8
			m.slew = slew
			if largest, backwards := m.busy(r, 2*time.Millisecond); largest > limit || backwards > limit {
				t.Errorf("slewed by %v: the error is up to %d ns, and time goes backwards by %d; want %d at most", slew, largest, backwards, limit)
			}
		}
		if r.rate.Load() == 0 {
			t.Error("the counter is no longer used")
		}
	})
}

func TestTimeFollowsSteps(t *testing.T) {
	eachCounter(t, func(t *testing.T, m *machine) {
		r := m.clock()
		m.busy(r, time.Millisecond)
		for _, step := range []time.Duration{time.Hour, -time.Hour, time.Millisecond, -3 * time.Second} {
			m.stepped += step
			m.busy(r, window+2000)
			if largest, _ := m.busy(r, time.Millisecond); largest > 1000 {
				t.Errorf("8 µs after a step of %v the error is still %d ns", step, largest)
			}
		}
		if r.rate.Load() == 0 {
			t.Error("the counter is no longer used")
		}
	})
}

func TestManyStepsFarApartAreNoReasonForDistrust(t *testing.T) {
	m := newMachine(3e9)
	r := m.clock()
	for range 100 {
		m.stepped += time.Second
		m.busy(r, time.Millisecond)
	}
	if r.rate.Load() == 0 {
		t.Error("the counter is no longer used")
	}
}

// TestPreemptedReadings: a reading that was interrupted is no anchor, and no end of a baseline.
func TestPreemptedReadings(t *testing.T) {
	for _, pause := range []time.Duration{time.Microsecond, 100 * time.Microsecond, 4 * time.Millisecond, 300 * time.Millisecond} {
		for range 20 {
			m := newMachine(2e9)
			r := &realtime{ticks: m.ticks, system: m.system}
			for i := range 10000 {
				if rand.IntN(3) == 0 {
					m.pause = pause
				}
				before := m.wall()
				if now := r.now(); now < before-100 || now > m.wall()+100 {
					t.Fatalf("reading %d, of some interrupted for %v: the time is %d to %d, not %d", i, pause, before, m.wall(), now)
				}
				m.pass(time.Duration(rand.Int64N(1500)))
			}
			if r.rate.Load() == 0 {
				t.Fatalf("pauses of %v: never calibrated", pause)
			}
		}
	}
}

// TestSuspendedMachine: CLOCK_MONOTONIC stops, CLOCK_REALTIME and maybe the counter do not.
func TestSuspendedMachine(t *testing.T) {
	for name, counted := range map[string]time.Duration{"counting": time.Hour, "stopped": 0, "reset": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			for at := range time.Duration(30) { // in the first baseline, between, and later
				m := newMachine(1e9)
				r := &realtime{ticks: m.ticks, system: m.system}
				m.busy(r, at*minBaseline/10)
				m.stepped += time.Hour
				m.booted += uint64(counted)
				m.busy(r, window+2000)
				if largest, _ := m.busy(r, 10*time.Millisecond); largest > 100 || r.rate.Load() == 0 {
					t.Errorf("suspended after %d baselines: the error is up to %d ns, the rate %d", at/10, largest, r.rate.Load())
				}
			}
		})
	}
}

func TestUnsynchronizedCountersAreNotUsed(t *testing.T) {
	for _, skew := range []time.Duration{5 * time.Microsecond, -5 * time.Microsecond, time.Millisecond, -time.Hour} {
		m := newMachine(1e9)
		r := m.clock()
		for range 10000 {
			m.skew = uint64(rand.Int64N(2) * int64(skew)) // the thread moves to another processor
			r.now()
			m.pass(2 * time.Microsecond)
		}
		if before := m.wall(); r.rate.Load() != 0 || !r.unused.Load() {
			t.Errorf("processors' counters are %v apart, and used", skew)
		} else if now := r.now(); now < before || now > m.wall() {
			t.Errorf("the time is %d, not %d", before, now)
		}
	}
}

// TestStoppedCounter: one that never moves is never used.
func TestStoppedCounter(t *testing.T) {
	m := newMachine(0)
	r := m.clock()
	if largest, _ := m.busy(r, 10*time.Millisecond); largest > 0 || r.rate.Load() != 0 {
		t.Errorf("the error is up to %d ns, the rate %d; want neither", largest, r.rate.Load())
	}
}

// TestIdleClock: packets far apart find no anchor, and get the system's time.
func TestIdleClock(t *testing.T) {
	eachCounter(t, func(t *testing.T, m *machine) {
		r := m.clock()
		for range 1000 {
			m.slew = rand.Float64() - 0.5
			m.pass(time.Duration(rand.Int64N(1e9)) + window)
			before := m.wall()
			if now := r.now(); now < before || now > m.wall() {
				t.Fatalf("the time is %d to %d, not %d", before, m.wall(), now)
			}
		}
	})
}

func TestUnusedCounter(t *testing.T) {
	rate, unused := system.rate.Swap(0), system.unused.Swap(true)
	defer func() {
		system.unused.Store(unused)
		system.rate.Store(rate)
	}()
	for range 100 {
		before := time.Now().UnixNano()
		if now := Now(); now < before || now > time.Now().UnixNano() {
			t.Fatalf("the time is %d, not %d", before, now)
		}
		time.Sleep(100 * time.Microsecond)
	}
	if system.rate.Load() != 0 {
		t.Error("the counter was calibrated")
	}
}

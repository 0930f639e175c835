package clock

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rxring/rxring/internal/need"
)

// comparison is of Now with time.Now, in nanoseconds.
type comparison struct {
	error     int64 // the largest
	backwards int64 // by which time went back at most, on one processor or from one to another
	readings  int64
}

func (c *comparison) add(o comparison) {
	c.error = max(c.error, o.error)
	c.backwards = max(c.backwards, o.backwards)
	c.readings += o.readings
}

// compare compares on several goroutines, which find anchors of each other, for d.
func compare(d time.Duration, now func() int64) comparison {
	var (
		mu     sync.Mutex
		all    comparison
		newest atomic.Int64
		wg     sync.WaitGroup
	)
	end := time.Now().Add(d)
	for range 2 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			var c comparison
			for time.Now().Before(end) {
				for range 1000 {
					c.compare(&newest, now)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.add(c)
		})
	}
	wg.Wait()
	return all
}

// compare reads both once. A thread that is preempted meanwhile makes the error look smaller.
func (c *comparison) compare(newest *atomic.Int64, now func() int64) {
	seen := newest.Load()
	before := time.Now().UnixNano()
	t := now()
	after := time.Now().UnixNano()
	c.error = max(c.error, before-t, t-after)
	c.backwards = max(c.backwards, seen-t)
	c.readings++
	for seen < t && !newest.CompareAndSwap(seen, t) {
		seen = newest.Load()
	}
}

func (c *comparison) check(t *testing.T, limit int64) {
	t.Helper()
	t.Logf("%d readings: the largest error is %d ns; time went backwards by %d ns at most", c.readings, c.error, c.backwards)
	if c.error >= limit || c.backwards >= limit {
		t.Errorf("want less than %d ns", limit)
	}
}

// counterClock has the counter of this machine, whichever clock source Linux has.
func counterClock(t *testing.T) *realtime {
	t.Helper()
	if runtime.GOOS != "linux" || !invariant() {
		need.Skip(t, need.Inapplicable, "no invariant counter")
	}
	var r realtime
	r.init(true)
	for r.rate.Load() == 0 {
		r.read()
	}
	return &r
}

func TestErrorAgainstTimeNow(t *testing.T) {
	need.Time(t, "it measures for a second")
	t.Run("Now", func(t *testing.T) {
		c := compare(500*time.Millisecond, Now)
		c.check(t, 1000)
	})
	t.Run("counter", func(t *testing.T) {
		r := counterClock(t)
		c := compare(500*time.Millisecond, r.now)
		c.check(t, 1000)
		if r.rate.Load() == 0 {
			t.Error("the counter is no longer used")
		}
	})
}

// TestAnchorsAreNotMixed: the offset of one anchor is not used near another, which a wrong rate
// would show.
func TestAnchorsAreNotMixed(t *testing.T) {
	r := counterClock(t)
	r.rate.Store(r.rate.Load() / 10 * 11)
	c := compare(500*time.Millisecond, r.now)
	c.check(t, window/10+maxGap)
}

// TestErrorWhileSlewed is the same for ten minutes, in which the clock is slewed as NTP would.
func TestErrorWhileSlewed(t *testing.T) {
	if os.Getenv("RXRING_LONG") == "" {
		t.Skip("RXRING_LONG=1 compares for ten minutes") //need: nothing is missing
	}
	r := counterClock(t)
	var all comparison
	for i := range 60 {
		slew(t, [...]int64{500, -500, 100, -100}[i%4])
		all.add(compare(10*time.Second, r.now))
	}
	all.check(t, 1000)
	if r.rate.Load() == 0 {
		t.Error("the counter is no longer used")
	}
}

// TestSelected: the environment decides, and without it the kernel.
func TestSelected(t *testing.T) {
	if want := !useCounter(os.Getenv(env), readClockSource); system.unused.Load() != want {
		t.Errorf("unused: %v, want %v", !want, want)
	}
	possible := runtime.GOOS == "linux" && invariant()
	for _, c := range []struct {
		env, current, available string
		counter                 bool
	}{
		{"", kernelSource, kernelSource + " hpet acpi_pm", true},
		{"", "hpet", "hpet acpi_pm", false},
		{"", "hpet", kernelSource + " hpet", false}, // an operator's choice
		{"", "kvm-clock", "kvm-clock " + kernelSource + " acpi_pm", true},
		{"", "kvm-clock", "kvm-clock " + kernelSource + "-early", false},
		{"", "kvm-clock", "kvm-clock", false}, // the counter is unstable
		{"", "", "", false},
		{"system", kernelSource, kernelSource, false},
		{"counter", "kvm-clock", "kvm-clock", true},
	} {
		files := map[string]string{"current_clocksource": c.current + "\n", "available_clocksource": c.available + "\n"}
		used := useCounter(c.env, func(file string) string { return files[file] })
		if used != (c.counter && possible) {
			t.Errorf("RXRING_CLOCK=%s, clock source %q of %q: the counter is used: %v", c.env, c.current, c.available, used)
		}
	}
}

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

func TestErrorAgainstTimeNow(t *testing.T) {
	c := compare(500*time.Millisecond, Now)
	c.check(t, 1000)
	if !system.unused.Load() && system.rate.Load() == 0 {
		t.Error("the counter has not been calibrated")
	}
}

// TestAnchorsAreNotMixed: the offset of one anchor is not used near another, which a wrong rate
// would show.
func TestAnchorsAreNotMixed(t *testing.T) {
	if system.unused.Load() {
		need.Skip(t, need.Inapplicable, "the counter is not used here")
	}
	var r realtime
	r.init(true)
	for r.rate.Load() == 0 {
		r.read()
	}
	r.rate.Store(r.rate.Load() / 10 * 11)
	c := compare(500*time.Millisecond, r.now)
	c.check(t, window/10+maxGap)
}

// TestErrorWhileSlewed is the same for ten minutes, in which the clock is slewed as NTP would.
func TestErrorWhileSlewed(t *testing.T) {
	if os.Getenv("RXRING_LONG") == "" {
		t.Skip("RXRING_LONG=1 compares for ten minutes") //need: nothing is missing
	}
	var all comparison
	for i := range 60 {
		slew(t, [...]int64{500, -500, 100, -100}[i%4])
		all.add(compare(10*time.Second, Now))
	}
	all.check(t, 1000)
}

// TestSelected: whether the counter is used is the environment's, and then the kernel's, choice.
func TestSelected(t *testing.T) {
	if want := !hasCounter() || os.Getenv(env) == "system"; system.unused.Load() != want {
		t.Errorf("unused: %v, want %v", !want, want)
	}
}

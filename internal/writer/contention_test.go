package writer

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// paces are what a place takes.
type paces struct{ shared, solo time.Duration }

// contenders play a contention's phases one after the other.
type contenders struct {
	c  contention
	at time.Time
	n  uint64
}

func newContenders() *contenders {
	w := &contenders{at: time.Unix(1, 0)}
	w.c.init()
	return w
}

// phase plays one to its end, and says which it was and for how many times the
// shortest.
func (w *contenders) phase(p paces) (exclusive bool, period int32) {
	exclusive, period = w.c.exclusive.Load(), w.c.left.Load()
	const places = 1000 // a loss
	n := uint64(period) * places
	took := time.Duration(n) * p.shared
	if exclusive {
		took = time.Duration(n) * p.solo
		w.c.soloPace.Store(pace(took, n))
	} else {
		period /= someLosses
	}
	w.at, w.n = w.at.Add(took), w.n+n
	w.c.decide(w.at, w.n)
	return exclusive, period
}

func TestContendersGoTheFasterWay(t *testing.T) {
	w := newContenders()
	for _, p := range []paces{
		{shared: 2, solo: 3},
		{shared: 3, solo: 2}, // as when a virtual machine's cores move
		{shared: 2, solo: 90},
	} {
		settled, now := 0, 0
		for i := range 200 {
			exclusive, period := w.phase(p)
			faster := exclusive == (p.solo < p.shared)
			switch {
			case faster && period == maxPeriod:
				if settled == 0 {
					settled = i
				}
				now++
			case settled > 0 && (faster || period != 1):
				t.Fatalf("%+v, phase %d: exclusive %v for %d times the shortest: want the slower way for 1, the faster for %d", p, i, exclusive, period, maxPeriod)
			}
		}
		if settled == 0 || settled > 40 || now < 80 {
			t.Errorf("%+v: settled after %d phases of 200, and %d of them the faster way", p, settled, now)
		}
	}
}

func TestContendersThatRarelyMeetStayShared(t *testing.T) {
	w := newContenders()
	for range 100 {
		if exclusive, _ := w.phase(paces{shared: rareLoss}); exclusive {
			t.Fatal("exclusive")
		}
	}
}

// steps makes so many steps of progress, one for each look.
type steps struct{ looks, most uint64 }

func (s *steps) progress() uint64 {
	s.looks++
	return min(s.looks, s.most)
}

func TestSpinAwayEndsWithoutProgress(t *testing.T) {
	var c contention
	const looks = longestSpin / exclusiveSpin
	for _, most := range []uint64{0, 1, 3, looks, 2 * looks} {
		s := steps{most: most}
		c.spinAway(&s, longestSpin)
		if want := min(max(most, 1)+1, looks+1); s.looks != want {
			t.Errorf("%d steps of progress: looked %d times, want %d", most, s.looks, want)
		}
		if c.soloPace.Load() <= 0 {
			t.Errorf("%d steps of progress: pace %d", most, c.soloPace.Load())
		}
	}
}

// Under the race detector: what only one may touch is handed from one to the next.
func TestContendersDecideOneAtATime(t *testing.T) {
	var c contention
	c.init()
	var n counter
	var writers sync.WaitGroup
	var exclusive atomic.Int32
	for range 4 {
		writers.Go(func() {
			for range 3000 {
				lost := uint32(0)
				c.backoff(&n, &lost)
				if lost >= exclusiveSpin {
					exclusive.Add(1)
				}
				n.Add(1)
			}
		})
	}
	writers.Wait()
	if left := c.left.Load(); left < 1 || left > someLosses*maxPeriod {
		t.Errorf("%d losses left: want the next decision to come", left)
	}
	t.Logf("%d of %d exclusive", exclusive.Load(), n.Load())
}

type counter struct{ atomic.Uint64 }

func (c *counter) progress() uint64 { return c.Load() }

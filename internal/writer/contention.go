package writer

import (
	"sync/atomic"
	"time"

	"github.com/rxring/rxring/internal/slots"
)

// contention decides how long a writer waits that has lost the compare-and-swap for
// a ring's next slot to another writer. Only losers touch it.
//
// The best wait depends on the writers and on the machine. Writers that do much
// beside acquiring, such as reading a clock, run side by side, and wait for a
// moment after a loss: shared mode. Writers that do hardly anything else spend more
// time on moving cache lines from core to core than on packets, and get more done
// when one acquires a run of slots while the others spin for microseconds:
// exclusive mode. What a line costs to move may change tenfold when a virtual
// machine's cores are put on others. So both modes are tried now and then, and
// acquired slots counted.
type contention struct {
	_         [64]byte     // nothing that writers need all the time is on these lines
	left      atomic.Int32 // losses until the next decision; storing it publishes the fields below to the writer that counts it down to 0
	exclusive atomic.Bool  // a hint, like soloPace: it orders nothing
	soloPace  atomic.Int64 // pace of the writers that went on when a loser last spun

	// Only the writer that has counted left down to 0 touches these.

	trial      bool  // of the mode that is not preferred
	period     int32 // how long the preferred mode is kept
	since      time.Time
	from       uint64 // progress then
	sharedPace int64
	_          [64]byte
}

// progress counts what writers have acquired, in units that are the same number for
// each packet of a length.
type progress interface{ progress() uint64 }

// Rounds of an empty loop, a quarter of a nanosecond each.
const (
	sharedSpin    = 1 << 7  // 30 ns
	exclusiveSpin = 1 << 15 // 8 µs, 400 packets of a writer that does nothing else
	longestSpin   = 1 << 18 // 65 µs
)

const (
	// A mode is judged after so many losses in shared mode, or after one spin in
	// exclusive mode: enough to know a pace. The preferred mode is kept for up to
	// maxPeriod times that.
	someLosses = 32
	maxPeriod  = 256
	// Losses that are further apart do no harm.
	rareLoss = 4 * time.Microsecond
)

func (c *contention) init() {
	c.period = 1
	c.left.Store(someLosses)
}

// backoff waits after a lost swap, before the writer tries again. lost is the
// writer's own, and 0 before the first loss for a packet: each wait is twice as
// long as the one before.
func (c *contention) backoff(p progress, lost *uint32) {
	if slots.Exploring {
		return
	}
	left := c.left.Add(-1) // at 0, acquires what decide stored last
	if c.exclusive.Load() {
		*lost = min(max(2**lost, exclusiveSpin), longestSpin)
		c.spinAway(p, *lost)
	} else {
		*lost = min(max(2**lost, sharedSpin), longestSpin)
		for range *lost {
		}
	}
	if left == 0 {
		c.decide(slots.Now(), p.progress())
	}
}

// spinAway leaves the ring to other writers for so many rounds, or until they stop,
// and stores their pace in soloPace.
func (c *contention) spinAway(p progress, rounds uint32) {
	began, from := slots.Now(), p.progress()
	at := from
	for range rounds / exclusiveSpin {
		for range exclusiveSpin {
		}
		before := at
		if at = p.progress(); at == before {
			break
		}
	}
	c.soloPace.Store(pace(slots.Now().Sub(began), at-from))
}

// decide chooses the mode to run next: first a short trial of the mode that is not
// preferred, then the one that was faster, for twice as long as the last time if it
// was preferred before.
func (c *contention) decide(at time.Time, progress uint64) {
	exclusive := c.exclusive.Load()
	if !exclusive {
		c.sharedPace = pace(at.Sub(c.since), progress-c.from)
	}
	switch {
	case !c.trial && !exclusive && at.Sub(c.since) > time.Duration(c.period)*someLosses*rareLoss:
		// Writers that rarely collide stay in shared mode.
	case !c.trial:
		c.trial, exclusive = true, !exclusive
	default:
		preferred := !exclusive
		exclusive = c.soloPace.Load() < c.sharedPace
		c.trial, c.period = false, min(2*c.period, maxPeriod)
		if exclusive != preferred {
			c.period = 1
		}
	}
	losses := int32(1)
	if !exclusive {
		losses = someLosses
	}
	if !c.trial {
		losses *= c.period
	}
	c.since, c.from = at, progress
	c.exclusive.Store(exclusive)
	c.left.Store(losses) // releases all of the above
}

// pace is the time for one unit of progress, in nanoseconds / 1024.
func pace(took time.Duration, places uint64) int64 {
	return int64(min(took, time.Hour)) * 1024 / int64(max(places, 1))
}

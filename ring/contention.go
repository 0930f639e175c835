package ring

import (
	"sync/atomic"
	"time"
)

// contention is what becomes of writers who want a ring's next place at the same
// time. One wins the swap, and the others make way: they leave the word alone for a
// while. Only they touch what is here.
//
// How long is best depends on the writers and on the machine. Writers who have much
// to do beside taking a place, as those who read a clock, do it side by side, and
// make way for a moment: together. Those who do hardly anything else spend more time
// on moving cache lines from core to core than on packets, and get more done when
// one takes places in a run while the others stay away for microseconds: apart. What
// a line costs to move may change tenfold when a virtual machine's cores are put on
// others. So both are tried now and then, and places counted.
type contention struct {
	_     [64]byte     // nothing that writers need all the time is on these lines
	left  atomic.Int32 // losses until the next decision; storing it hands the rest to who counts it down
	apart atomic.Bool  // a hint, as alone is: nothing is ordered by it
	alone atomic.Int64 // pace of those who went on when somebody last stayed away

	// The rest is for who has counted left down to 0.

	trial    bool  // of what is not preferred
	spell    int32 // for how long what is preferred is left alone
	since    time.Time
	from     uint64 // progress then
	together int64  // pace
	_        [64]byte
}

// progress says how far writers have come, in units of which packets of the same
// length take as many.
type progress interface{ progress() uint64 }

// Rounds of an empty loop, a quarter of a nanosecond each.
const (
	awayTogether = 1 << 7  // 30 ns
	awayApart    = 1 << 15 // 8 µs, 400 packets of a writer who does nothing else
	awayMost     = 1 << 18 // 65 µs
)

const (
	// A decision is after so many losses together, or after staying away once:
	// that is enough to know a pace. What is preferred goes on for up to mostSpell
	// times that.
	someLosses = 32
	mostSpell  = 256
	// Losses further apart than that are no harm.
	rareLoss = 4 * time.Microsecond
)

func (c *contention) init() {
	c.spell = 1
	c.left.Store(someLosses)
}

// makeWay is what a writer does who has lost a swap, before trying again. lost is
// the writer's own, and 0 before the first one lost for a packet: it stays away
// twice as long each time.
func (c *contention) makeWay(p progress, lost *uint32) {
	if exploring {
		return
	}
	left := c.left.Add(-1)
	if c.apart.Load() {
		*lost = min(max(2**lost, awayApart), awayMost)
		c.stayAway(p, *lost)
	} else {
		*lost = min(max(2**lost, awayTogether), awayMost)
		for range *lost {
		}
	}
	if left == 0 {
		c.decide(now(), p.progress())
	}
}

// stayAway leaves a ring to others for so many rounds, unless there are none, and
// says in alone how they did.
func (c *contention) stayAway(p progress, rounds uint32) {
	began, from := now(), p.progress()
	at := from
	for range rounds / awayApart {
		for range awayApart {
		}
		before := at
		if at = p.progress(); at == before {
			break
		}
	}
	c.alone.Store(pace(now().Sub(began), at-from))
}

// decide begins what comes next: for a moment what is not preferred, or then which
// of the two was faster, for twice as long as the last time if it was preferred
// before.
func (c *contention) decide(at time.Time, progress uint64) {
	apart := c.apart.Load()
	if !apart {
		c.together = pace(at.Sub(c.since), progress-c.from)
	}
	switch {
	case !c.trial && !apart && at.Sub(c.since) > time.Duration(c.spell)*someLosses*rareLoss:
		// Writers who rarely meet need nothing else.
	case !c.trial:
		c.trial, apart = true, !apart
	default:
		preferred := !apart
		apart = c.alone.Load() < c.together
		c.trial, c.spell = false, min(2*c.spell, mostSpell)
		if apart != preferred {
			c.spell = 1
		}
	}
	losses := int32(1)
	if !apart {
		losses = someLosses
	}
	if !c.trial {
		losses *= c.spell
	}
	c.since, c.from = at, progress
	c.apart.Store(apart)
	c.left.Store(losses)
}

// pace is nanoseconds / 1024 for a place.
func pace(took time.Duration, places uint64) int64 {
	return int64(min(took, time.Hour)) * 1024 / int64(max(places, 1))
}

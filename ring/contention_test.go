package ring

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// paces are what a place takes.
type paces struct{ together, alone time.Duration }

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
func (w *contenders) phase(p paces) (apart bool, spell int32) {
	apart, spell = w.c.apart.Load(), w.c.left.Load()
	const places = 1000 // a loss
	n := uint64(spell) * places
	took := time.Duration(n) * p.together
	if apart {
		took = time.Duration(n) * p.alone
		w.c.alone.Store(pace(took, n))
	} else {
		spell /= someLosses
	}
	w.at, w.n = w.at.Add(took), w.n+n
	w.c.decide(w.at, w.n)
	return apart, spell
}

func TestContendersGoTheFasterWay(t *testing.T) {
	w := newContenders()
	for _, p := range []paces{
		{together: 2, alone: 3},
		{together: 3, alone: 2}, // as when a virtual machine's cores move
		{together: 2, alone: 90},
	} {
		settled, now := 0, 0
		for i := range 200 {
			apart, spell := w.phase(p)
			faster := apart == (p.alone < p.together)
			switch {
			case faster && spell == mostSpell:
				if settled == 0 {
					settled = i
				}
				now++
			case settled > 0 && (faster || spell != 1):
				t.Fatalf("%+v, phase %d: apart %v for %d times the shortest: want the slower way for 1, the faster for %d", p, i, apart, spell, mostSpell)
			}
		}
		if settled == 0 || settled > 40 || now < 80 {
			t.Errorf("%+v: settled after %d phases of 200, and %d of them the faster way", p, settled, now)
		}
	}
}

func TestContendersWhoRarelyMeetStayTogether(t *testing.T) {
	w := newContenders()
	for range 100 {
		if apart, _ := w.phase(paces{together: rareLoss}); apart {
			t.Fatal("apart")
		}
	}
}

// steps makes so many steps of progress, one for each look.
type steps struct{ looks, most uint64 }

func (s *steps) progress() uint64 {
	s.looks++
	return min(s.looks, s.most)
}

func TestNobodyStaysAwayForNobody(t *testing.T) {
	var c contention
	const looks = awayMost / awayApart
	for _, most := range []uint64{0, 1, 3, looks, 2 * looks} {
		s := steps{most: most}
		c.stayAway(&s, awayMost)
		if want := min(max(most, 1)+1, looks+1); s.looks != want {
			t.Errorf("%d steps of progress: looked %d times, want %d", most, s.looks, want)
		}
		if c.alone.Load() <= 0 {
			t.Errorf("%d steps of progress: pace %d", most, c.alone.Load())
		}
	}
}

// Under the race detector: what only one may touch is handed from one to the next.
func TestContendersDecideOneAtATime(t *testing.T) {
	var c contention
	c.init()
	var n counter
	var writers sync.WaitGroup
	var apart atomic.Int32
	for range 4 {
		writers.Go(func() {
			for range 3000 {
				lost := uint32(0)
				c.makeWay(&n, &lost)
				if lost >= awayApart {
					apart.Add(1)
				}
				n.Add(1)
			}
		})
	}
	writers.Wait()
	if left := c.left.Load(); left < 1 || left > someLosses*mostSpell {
		t.Errorf("%d losses left: want the next decision to come", left)
	}
	t.Logf("%d of %d apart", apart.Load(), n.Load())
}

type counter struct{ atomic.Uint64 }

func (c *counter) progress() uint64 { return c.Load() }

func TestEachSlotHasItsOwnSequenceWord(t *testing.T) {
	for _, slots := range []uint32{1, 2, 31, 32, 33, 100, 4096} {
		var d ticket
		d.init(slots)
		owner := map[*word]uint32{}
		for slot := range slots {
			w := d.sequence(slot)
			if other, taken := owner[w]; taken {
				t.Fatalf("of %d slots, %d and %d have the same", slots, other, slot)
			}
			owner[w] = slot
		}
	}
}

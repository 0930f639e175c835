//go:build explore

package scaling

import (
	"fmt"
	"math/rand/v2"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/explore"
	"github.com/rxring/rxring/internal/ownership"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Path is a way to fill rings together.
type Path struct {
	Name   string
	Design ownership.Design
	Batch  int  // slots that are acquired at once; 0: one
	Rings  int  // of a fanout group by CPU, which writers share out; 0: one
	Device bool // the device counts its packets, once a call
	Work   Time // a packet's, besides what is simulated

	like string // the path whose Work it has; empty: its own
}

// Rings and laps of a simulation. A lap is over when its last writer is done, as in package bench.
const (
	slotsOfRing = 1 << 12
	warmLaps    = 1
	laps        = 2
	jitter      = 0.05 // of the work, so that writers do not stay in step
)

// Simulate returns the nanoseconds that a packet takes if so many writers, each on a core of its own, fill
// the rings together. The result depends on nothing but the arguments.
func Simulate(m Machine, p Path, writers int, seed uint64) (ns float64, err error) {
	n := min(max(p.Rings, 1), writers)
	random := rand.New(rand.NewPCG(seed, uint64(writers)))
	s := &simulation{
		caches: newCaches(&m, random.Perm(writers)), // so that writers in a row are not always in one domain
		path:   p,
		rings:  make([]*ownership.Ring, n),
		cores:  make([]core, writers),
		random: random,
	}
	for i := range s.rings {
		if s.rings[i], err = newRing(p.Design); err != nil {
			return 0, err
		}
		defer s.rings[i].Close()
	}
	for i := range s.cores {
		s.cores[i].ring = s.rings[i%n]
	}
	lap := slotsOfRing * n / writers * writers
	bodies := make([]func(), writers)
	for i := range bodies {
		bodies[i] = func() { s.write(&s.cores[i], lap/writers) }
	}
	var now, began Time
	for i := range warmLaps + laps {
		if i == warmLaps {
			began = now
		}
		now = explore.Simulate(bodies, s, now)
		s.drain()
	}
	if captured := s.captured(); captured != uint64(lap*(warmLaps+laps)) {
		return 0, fmt.Errorf("%s, %d writers: %d packets captured of %d: want all, the rings have room", p.Name, writers, captured, lap*(warmLaps+laps))
	}
	return float64(now-began) / float64(nanosecond) / float64(lap*laps), nil
}

func newRing(d ownership.Design) (*ownership.Ring, error) {
	request := tpacket.Req{BlockSize: 1 << 16, BlockNr: slotsOfRing >> 9, FrameSize: 1 << 7, FrameNr: slotsOfRing}
	g, err := tpacket.Layout(tpacket.V2, tpacket.Req3{Req: request}, 0, unix.Getpagesize())
	if err != nil {
		return nil, err
	}
	m, err := ringmem.New(g.Size())
	if err != nil {
		return nil, err
	}
	return ownership.New(m, g, d)
}

// simulation is a [explore.Clock].
type simulation struct {
	*caches
	path   Path
	rings  []*ownership.Ring
	cores  []core
	random *rand.Rand
}

// core is a writer and its core.
type core struct {
	ring    *ownership.Ring
	loading Time // when its latest load began
	backoff Time // its latest wait for this packet
}

// Steps that are not the ring's.
var (
	works  = explore.Step{What: "fills a slot"}                                     // one for each packet
	counts = explore.Step{What: "counts", Op: explore.Store, Word: &explore.Word{}} // all writers' packets in one word, as type traffic does in rxring
)

// write is a writer's share of a lap.
func (s *simulation) write(c *core, n int) {
	run := make([]uint32, max(s.path.Batch, 1))
	for n > 0 {
		got, v := 0, ring.Acquired
		if s.path.Batch == 0 {
			run[0], v = c.ring.Acquire()
			got = 1
		} else {
			got, v = c.ring.AcquireBatch(run[:min(n, len(run))])
		}
		if v != ring.Acquired {
			n-- // dropped
			continue
		}
		for _, slot := range run[:got] {
			explore.Take(works)
			c.ring.Release(slot, tpacket.StatusUser)
		}
		if s.path.Device {
			explore.Take(counts)
		}
		n -= got
	}
}

// drain hands all slots back. The reader's core has their lines then, and the writers' prefetchers get them
// from there: what that costs is part of Path.Work.
func (s *simulation) drain() {
	for _, r := range s.rings {
		for slot := range uint32(slotsOfRing) {
			tpacket.Header2At(r.Frame(slot)).Status = tpacket.StatusKernel
			s.forget(lineOf(&r.Frame(slot)[0]))
		}
	}
}

func (s *simulation) captured() (n uint64) {
	for _, r := range s.rings {
		n += r.Captured()
	}
	return n
}

func lineOf[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) >> 6 }

// Begin implements [explore.Clock].
func (s *simulation) Begin(i int, step explore.Step, now Time) Time {
	c := &s.cores[i]
	switch step.Op {
	case explore.Load:
		if step.Word == nil {
			// The status of a slot is loaded while the core waits for its sequence word: neither's
			// address depends on the other.
			return max(now, s.request(i, s.line(c, step), false, c.loading))
		}
		c.loading = now
		return s.request(i, s.line(c, step), false, now)
	case explore.Store, explore.Update, explore.Acquire:
		// A locked instruction waits until the store buffer is empty.
		return s.request(i, s.line(c, step), true, max(now, s.drained[i]))
	}
	return now
}

// Take implements [explore.Clock].
func (s *simulation) Take(i int, step explore.Step, now Time) Time {
	c := &s.cores[i]
	switch step.Op {
	case explore.Load:
		return s.load(i, s.line(c, step), now)
	case explore.Publish:
		return s.store(i, s.line(c, step), now)
	case explore.Store:
		return s.locked(i, s.line(c, step), now)
	case explore.Update:
		now = s.locked(i, s.line(c, step), now)
		if step.Word.Peek() == step.Values[0] {
			c.backoff = 0
			return now
		}
		c.backoff = min(max(2*c.backoff, firstBackoff), longestBackoff)
		return now + c.backoff
	case explore.Acquire:
		now = s.locked(i, s.line(c, step), now)
		guarded := s.line(c, step) + 1
		return s.move(i, guarded, true, s.request(i, guarded, true, now))
	}
	if step.What == works.What {
		return now + Time(float64(s.path.Work)*(1+jitter*(2*s.random.Float64()-1)))
	}
	return now + s.machine.Hit
}

// Of a writer that loses a compare-and-swap: see internal/writer/backoff.go.
const (
	firstBackoff   = 30 * nanosecond
	longestBackoff = 8000 * nanosecond
)

// line is the line of the word, the lock or the slot's status that a step is about.
func (s *simulation) line(c *core, step explore.Step) uintptr {
	switch {
	case step.Word != nil:
		return lineOf(step.Word)
	case step.Lock != nil:
		return lineOf(step.Lock)
	}
	return lineOf(&c.ring.Frame(step.Args[1].(uint32))[0])
}

// Unlock implements [explore.Clock].
func (s *simulation) Unlock(i int, l *explore.Lock, now Time) Time {
	now = s.request(i, lineOf(l), true, max(now, s.drained[i]))
	return s.locked(i, lineOf(l), now)
}

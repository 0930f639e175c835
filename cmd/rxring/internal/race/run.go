package race

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/ring"
)

// Run runs the designs one after the other. When ctx ends it returns early, with the
// results so far.
func Run(ctx context.Context, c Config) (*Report, error) {
	if len(c.Designs) == 0 {
		c.Designs = Contenders()
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	report := &Report{
		OK: true,
		Config: Parameters{
			Writers: c.Writers, Slots: c.Slots, FrameBytes: c.Frame,
			SlowWriter: c.SlowWriter, Seconds: c.Duration.Seconds(), Processors: runtime.GOMAXPROCS(0),
			Forced: c.forced(),
		},
		Designs: []Outcome{},
	}
	memory, err := ringmem.New(max(c.Slots*c.Frame, paceSlots*paceFrame))
	if err != nil {
		return nil, err
	}
	defer memory.Close()
	for i, d := range c.Designs {
		if ctx.Err() != nil {
			break
		}
		r := run{Config: &c, design: d, memory: memory, index: i}
		o, err := r.all(ctx)
		if err != nil {
			return nil, err
		}
		o.setVerdict(c.forced() && ctx.Err() == nil)
		report.OK = report.OK && o.Verdict != Failed
		report.Designs = append(report.Designs, o)
	}
	report.EndedEarly = ctx.Err() != nil
	return report, nil
}

// run is the run of one design.
type run struct {
	*Config
	design Contender
	index  int // of design in Designs
	memory *ringmem.Memory
}

// Rounds of a run: at least this many, none longer than maxRound.
const (
	minRounds = 20
	maxRound  = 100 * time.Millisecond
)

// maxStretch is how many times its duration a forced run may take while the design has
// shown no fault: on a busy machine that proves nothing.
const maxStretch = 5

// wantTears is how many torn packets to look at for one that is easy to follow.
// Rounds end at a tear until there are so many.
const wantTears = 12

func (r *run) all(ctx context.Context) (o Outcome, err error) {
	o.design, o.Design = r.design, r.design.String()
	if o.Nanoseconds, err = pace(r.design, r.memory); err != nil {
		return o, err
	}
	length := min(r.Duration/minRounds, maxRound)
	tears := 0
	for start := time.Now(); ctx.Err() == nil; {
		spent := time.Since(start)
		if r.Progress != nil {
			done := min(1, spent.Seconds()/r.Duration.Seconds())
			r.Progress(r.design, (float64(r.index)+done)/float64(len(r.Designs)))
		}
		if spent >= r.Duration && (spent >= maxStretch*r.Duration || !r.forced() || !o.lacksFault()) {
			break
		}
		rd, err := newRound(r, tears < wantTears)
		if err != nil {
			return o, err
		}
		rd.race(ctx, length)
		rd.addTo(&o)
		if t := rd.tear; t != nil {
			tears++
			if o.Tear == nil || t.timeline.difficulty < o.Tear.timeline.difficulty {
				o.Tear = t
			}
		}
	}
	return o, nil
}

// round is one ring, its writers and its reader, from start to standstill.
type round struct {
	*run
	ring      buffer
	memory    []byte // of ring
	start     time.Time
	size      int  // bytes of the largest packet
	firstTear bool // end at the first torn packet

	stop    atomic.Bool   // writers finish the packet they are at
	offered atomic.Uint64 // by all writers

	// returned holds for each slot (not block) the last packet that the reader read whole
	// there, stored after it handed the slot back.
	returned []atomic.Uint64

	writers []*racer
	reader  reader
	stuck   bool
	tear    *Tear
}

func newRound(r *run, firstTear bool) (rd *round, err error) {
	rd = &round{run: r, memory: r.memory.Bytes()[:r.Slots*r.Frame], firstTear: firstTear, returned: make([]atomic.Uint64, r.Slots)}
	rd.size = (r.Frame - dataAt) / 16 * 16
	if r.design == Blocks {
		var b blocks
		if b, err = newBlocks(r.memory, r.Slots, r.Frame); err == nil {
			rd.ring, rd.size = b, (int(b.MaxFrame())-dataAt-1)/16*16 // Linux leaves a byte unused
		}
	} else {
		var s slots
		if s, err = newSlots(r.design, r.memory, r.Slots, r.Frame); err == nil {
			rd.ring = s
			s.Stall(func() {
				if slow(r.SlowWriter) {
					rd.stall()
				}
			})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%v: %w", r.design, err)
	}
	for i := range r.Writers {
		rd.writers = append(rd.writers, &racer{round: rd, index: i, seen: make([]uint64, r.Writers)})
	}
	rd.reader = newReader(rd)
	return rd, nil
}

// race runs the writers and the reader for d, lets them finish, and checks that the
// ring still works.
func (rd *round) race(ctx context.Context, d time.Duration) {
	end := func() { rd.stop.Store(true) }
	defer time.AfterFunc(d, end).Stop()
	defer context.AfterFunc(ctx, end)()

	rd.start = time.Now()
	var wg sync.WaitGroup
	for _, w := range rd.writers {
		wg.Go(w.run)
	}
	if rd.design == Blocks {
		wg.Go(func() {
			for !rd.stop.Load() {
				time.Sleep(retireEvery)
				rd.ring.expire()
			}
		})
	}
	var quiet atomic.Bool
	go func() { wg.Wait(); quiet.Store(true) }()
	for {
		last := quiet.Load()
		if last {
			rd.ring.expire() // what is in an open block, too
		}
		for rd.reader.next() {
		}
		if last {
			break
		}
		runtime.Gosched()
	}
	if t := rd.reader.tear; t != nil {
		t.timeline = rd.timeline(t)
		rd.tear = t
	}
	rd.probe()
}

// probe tries the ring when no writer owns a slot and the reader has handed back all
// that it got: a writer must be able to acquire a slot, and its packet must reach the
// reader before the ring has wrapped twice.
func (rd *round) probe() {
	w := &racer{round: rd, index: rd.Writers}
	before := rd.reader.read
	defer func() { rd.reader.probed = rd.reader.read - before }()
	for range 2 * rd.Slots {
		p, v := rd.ring.acquire(rd.size)
		if v == ring.Full && rd.design == Blocks {
			rd.reader.next() // the only block was empty, and yet had to go to the reader first
			p, v = rd.ring.acquire(rd.size)
		}
		if v != ring.Acquired {
			rd.stuck = true
			return
		}
		w.number++
		w.fill(p.frame, rd.size, 0)
		rd.ring.release(p)
		rd.ring.expire()
		for rd.reader.next() {
		}
	}
	rd.stuck = rd.reader.read == before
}

func (rd *round) addTo(o *Outcome) {
	o.Rounds++
	for _, w := range rd.writers {
		o.Offered += w.number
		o.Accepted += w.verdicts[ring.Acquired]
		for why := range ring.Reasons {
			o.Dropped[why] += w.verdicts[why]
		}
		o.LostForNothing += w.lost
	}
	o.Read += rd.reader.read - rd.reader.probed
	o.Torn += rd.reader.torn
	o.Repeated += rd.reader.repeated
	if rd.stuck {
		o.Stuck = true
		o.StuckRounds++
	}
}

// now is the time since the round began.
func (rd *round) now() time.Duration { return time.Since(rd.start) }

// stall delays a writer until the others have had time to wrap the ring, whether they
// did or not.
func (rd *round) stall() {
	around := uint64(8*rd.Slots + 8)
	from := rd.offered.Load()
	for range 200 + 4*rd.Slots {
		if rd.stop.Load() || rd.offered.Load()-from >= around {
			return
		}
		runtime.Gosched()
	}
}

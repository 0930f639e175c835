package bench

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// Sample is one measurement of a cell.
type Sample struct {
	Elapsed  time.Duration // on the clock; see laps.typical
	Offered  uint64        // packets handed to the contender in that time
	Accepted uint64        // of them, those that it kept
	Mallocs  uint64        // heap allocations of the process in that time
}

// NsPerPacket is what one packet offered costs its writer.
func (s Sample) NsPerPacket() float64 { return float64(s.Elapsed.Nanoseconds()) / float64(s.Offered) }

// Rate is the packets accepted in a second.
func (s Sample) Rate() float64 { return float64(s.Accepted) / s.Elapsed.Seconds() }

// Share is the part of the packets offered that was accepted.
func (s Sample) Share() float64 { return float64(s.Accepted) / float64(s.Offered) }

// AllocsPerPacket is heap allocations for each packet offered.
func (s Sample) AllocsPerPacket() float64 { return float64(s.Mallocs) / float64(s.Offered) }

// errSkip is the error of a contender that this machine cannot run.
var errSkip = errors.New("skipped")

// session is a contender with one writer, open for packets of one size.
type session interface {
	// send offers n packets: this is on the clock.
	send(n int)
	// empty makes room for another lap, off the clock. It does nothing for a
	// contender whose far end empties it all the time.
	empty()
	// settle waits until the far end has all that was accepted, and counts.
	settle() (tally, error)
	close() error
}

// tally is what a session did since it was opened.
type tally struct {
	accepted, dropped uint64 // by the contender's own counts
	read, bytes       uint64 // what arrived at its far end
}

// check compares a tally with what was offered.
func (t tally) check(offered, size uint64) error {
	switch {
	case t.accepted+t.dropped != offered:
		return fmt.Errorf("%d accepted and %d dropped of %d offered: want them to add up", t.accepted, t.dropped, offered)
	case t.read != t.accepted:
		return fmt.Errorf("%d packets accepted, %d read: want the same", t.accepted, t.read)
	case t.bytes != t.read*size:
		return fmt.Errorf("%d packets read with %d bytes: want %d each", t.read, t.bytes, size)
	}
	return nil
}

// measure runs s for about budget on the clock, lap packets at a time. size is
// how many bytes of each packet must arrive. alone says that only the writer works on the clock: see
// laps.typical.
func measure(s session, lap, size int, alone bool, budget time.Duration) (sample Sample, err error) {
	defer func() { err = errors.Join(err, s.close()) }()
	s.send(lap) // touch the pages, grow what grows
	s.empty()
	var l laps
	runtime.GC() // so that garbage of the previous session costs this one nothing

	mallocs := mallocs()
	// Off the clock there is work too: bound the whole.
	limit := time.Now().Add(20 * budget)
	for l.n == 0 || l.total < budget && time.Now().Before(limit) {
		start := time.Now()
		s.send(lap)
		l.add(time.Since(start))
		sample.Offered += uint64(lap)
		s.empty()
	}
	sample.Mallocs = mallocs()
	sample.Elapsed = l.total
	if alone {
		sample.Elapsed = l.typical()
	}
	t, err := s.settle()
	if err != nil {
		return Sample{}, err
	}
	offered := sample.Offered + uint64(lap)
	if err := t.check(offered, uint64(size)); err != nil {
		return Sample{}, err
	}
	// The warming lap counts for the share, as it does in every contender.
	sample.Accepted = uint64(float64(t.accepted) / float64(offered) * float64(sample.Offered))
	return sample, nil
}

// laps are the times of the laps of one sample, the first many of them, in an
// array: they must not allocate while allocations are counted.
type laps struct {
	n     int
	total time.Duration
	each  [4096]time.Duration
}

func (l *laps) add(d time.Duration) {
	if l.n < len(l.each) {
		l.each[l.n] = d
	}
	l.n++
	l.total += d
}

// typical is the number of laps times the median lap. A lap is shorter than a scheduler's time slice,
// so this leaves out the laps in which the writer was preempted.
func (l *laps) typical() time.Duration {
	each := l.each[:min(l.n, len(l.each))]
	slices.Sort(each)
	return each[len(each)/2] * time.Duration(l.n)
}

// mallocs starts to count the process's heap allocations; what it returns ends
// it.
func mallocs() func() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := m.Mallocs
	return func() uint64 {
		runtime.ReadMemStats(&m)
		return m.Mallocs - before
	}
}

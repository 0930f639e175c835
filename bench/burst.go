package bench

import (
	"errors"
	"fmt"
	"time"

	"github.com/rxring/rxring/internal/ownership"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/tpacket"
)

// burst measures the whole path with writers that fill a ring together, in laps. The ring is emptied
// off the clock after each lap, so nothing is dropped, and the rate is that at which packets get into
// the ring. As with a real reader, each slot was last read and written on the reader's core; as in a
// burst that fits into a ring, the reader costs the writers no time. [crew] says what runs on which
// core.
//
// Each writer writes its share of a lap, and the lap ends with the last writer. If writers shared the
// work, the one on the reader's core would do all of it.
//
// If the writer emptied the ring, it would find every slot in its own cache, which never happens
// beside a reader, and two writers would be compared with that.
func burst(writers, size int, c deliverConfig, budget time.Duration) (s Sample, err error) {
	c.ring = burstRing(size)
	together, err := newCrew(writers)
	if err != nil {
		return Sample{}, err
	}
	defer together.close()
	opened, err := openDeliver(size, c)
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, opened.close()) }()
	d := opened.(*deliver)
	lap := int(c.ring.FrameNr) * max(1, min(writers, c.fanout)) // with fanout each writer is a CPU of its own
	laps, s := together.laps(budget, func(i int) { d.sendOn(i, lap/writers) }, d.drain)
	s.Offered = uint64(laps * lap)
	t, err := d.settle()
	if err != nil {
		return Sample{}, err
	}
	s.Accepted = t.accepted - uint64(lap)
	return s, t.check(s.Offered+uint64(lap), uint64(size))
}

// bareBurst is burst at a bare ring of a design: no device, no socket, no clock.
func bareBurst(design ownership.Design, writers, size int, budget time.Duration) (s Sample, err error) {
	together, err := newCrew(writers)
	if err != nil {
		return Sample{}, err
	}
	defer together.close()
	r, err := openRing(design, burstRing(size))
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	all := make([]*ownerWriter, writers)
	for i := range all {
		all[i] = &ownerWriter{ring: r, packet: packet(size), status: tpacket.StatusUser}
	}
	var t tally
	rd := writer.NewReader(r, nil)
	scratch := make([]byte, size)
	lap := int(r.Geometry().FrameNr)
	laps, s := together.laps(budget,
		func(i int) { all[i].offer(lap / writers) },
		func() { readAll(rd, scratch, &t) })
	for _, w := range all {
		t.accepted += w.accepted
		t.dropped += w.offered - w.accepted
	}
	s.Offered = uint64(laps * lap)
	s.Accepted = t.accepted - uint64(lap)
	if t.accepted != r.Captured() {
		return Sample{}, fmt.Errorf("%v: writers say %d accepted, the ring %d: want the same", design, t.accepted, r.Captured())
	}
	return s, t.check(s.Offered+uint64(lap), uint64(size))
}

// burstRing is a ring as large as a program's that is to take bursts, some MiB.
// Filling it takes milliseconds: turning writers on and off is a small part of
// that, and a scheduler's time slice is longer.
func burstRing(size int) tpacket.Req {
	r := ringRequest(size)
	n := uint32(1)
	switch {
	case size <= 128:
		n = 4
	case size <= 1900:
		n = 2
	}
	r.BlockNr *= n
	r.FrameNr *= n
	return r
}

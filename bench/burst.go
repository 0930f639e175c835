package bench

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rxring/rxring/tpacket"
)

// burst measures the whole path with writers that fill a ring together: laps of
// it, each emptied off the clock. Nothing is dropped, so the rate is that at
// which writers get packets in. As with a real reader, each slot comes back from
// another core, and nobody finds the ring in his own cache; and as with a burst
// that a ring is there to take, the reader costs the writers no time.
func burst(writers, size int, c deliverConfig, budget time.Duration) (s Sample, err error) {
	c.ring = burstRing(size)
	opened, err := openDeliver(size, c)
	if err != nil {
		return Sample{}, err
	}
	defer func() { err = errors.Join(err, opened.close()) }()
	d := opened.(*deliver)
	// Writers take turns of a lap as they come. With fanout each is a CPU of its
	// own, and has its own share.
	lap := int(c.ring.FrameNr)
	var taken atomic.Int64
	work := func(int) {
		const turn = 32
		for taken.Add(turn) <= int64(lap) {
			d.send(turn)
		}
	}
	if c.fanout > 0 {
		lap *= min(writers, c.fanout)
		work = func(i int) { d.sendOn(i, lap/writers) }
	}
	for i := range writers {
		d.sendOn(i, lap/writers)
	}
	d.drain()
	runtime.GC()
	mallocs := mallocs()
	for s.Elapsed < budget {
		taken.Store(0)
		s.Elapsed += lapTogether(writers, work)
		s.Offered += uint64(lap)
		d.drain()
	}
	s.Mallocs = mallocs() // the goroutines', too: one in thousands of packets
	t, err := d.settle()
	if err != nil {
		return Sample{}, err
	}
	s.Accepted = t.accepted - uint64(lap)
	return s, t.check(s.Offered+uint64(lap), uint64(size))
}

// lapTogether runs work(0), work(1), ..., work(writers-1), and says how long they
// took from the moment when all of them were ready.
func lapTogether(writers int, work func(writer int)) time.Duration {
	var ready, start atomic.Int64
	var wg sync.WaitGroup
	for i := range writers - 1 {
		wg.Go(func() {
			ready.Add(1)
			for start.Load() == 0 {
				if writers > runtime.GOMAXPROCS(0) {
					runtime.Gosched()
				}
			}
			work(1 + i)
		})
	}
	for ready.Load() < int64(writers-1) {
		time.Sleep(10 * time.Microsecond) // spinning here could keep a writer off its core
	}
	began := time.Now()
	start.Store(1)
	work(0)
	wg.Wait()
	return time.Since(began)
}

// burstRing is a ring large enough that filling it takes milliseconds: turning
// writers on and off is then a small part.
func burstRing(size int) tpacket.Req {
	r := ringRequest(size)
	n := uint32(4)
	if size <= 128 {
		n = 16
	}
	r.BlockNr *= n
	r.FrameNr *= n
	return r
}

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
	lap := int64(c.ring.FrameNr)
	d.send(int(lap))
	d.drain()
	runtime.GC()
	mallocs := mallocs()
	for s.Elapsed < budget {
		s.Elapsed += lapTogether(writers, lap, d.send)
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

// lapTogether has writers call send until n packets went out in all, and says
// how long they took from the moment when all of them were ready.
func lapTogether(writers int, n int64, send func(int)) time.Duration {
	const turn = 32
	var ready, start, taken atomic.Int64
	work := func() {
		for taken.Add(turn) <= n {
			send(turn)
		}
	}
	var wg sync.WaitGroup
	for range writers - 1 {
		wg.Go(func() {
			ready.Add(1)
			for start.Load() == 0 {
				if writers > runtime.GOMAXPROCS(0) {
					runtime.Gosched()
				}
			}
			work()
		})
	}
	for ready.Load() < int64(writers-1) {
		time.Sleep(10 * time.Microsecond) // spinning here could keep a writer off its core
	}
	began := time.Now()
	start.Store(1)
	work()
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

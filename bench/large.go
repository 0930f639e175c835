package bench

import (
	"time"

	"github.com/rxring/rxring/tpacket"
)

// largeRing is a ring of 512 MiB for packets of 64 KiB. A sample that is no measurement gets a
// smaller one.
func largeRing(budget time.Duration) tpacket.Req {
	r := ringRequest(65536)
	r.BlockNr = 512 << 20 / r.BlockSize
	if budget < aMeasurement {
		r.BlockNr = 32 << 20 / r.BlockSize
	}
	r.FrameNr = r.BlockNr * (r.BlockSize / r.FrameSize)
	return r
}

// largeCells measures 64 KiB packets in a ring that is larger than the processor's caches.
func largeCells() (all []cell) {
	const size = 65536
	for _, c := range []struct {
		row  string
		open func(tpacket.Req) (session, error)
	}{
		{rowCopy, func(r tpacket.Req) (session, error) { return openCopyTo(size, r) }},
		{rowStamped, func(r tpacket.Req) (session, error) {
			return openDeliver(size, deliverConfig{timestamp: stamp, ring: r})
		}},
	} {
		all = append(all, cell{largeTable, c.row, sizeName(size), func(budget time.Duration) (Sample, error) {
			r := largeRing(budget)
			s, err := c.open(r)
			if err != nil {
				return Sample{}, err
			}
			return measure(s, int(r.FrameNr), size, true, budget)
		}})
	}
	return all
}

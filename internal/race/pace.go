package race

import (
	"math"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

const (
	paceSlots   = 64
	paceFrame   = 256
	pacePackets = 2000 // a batch
	paceBatches = 20
)

// pace measures what a packet of 64 bytes costs one writer alone, in
// nanoseconds: acquire, copy, release, and the reader's store that hands the
// slot back. The best of several batches: others share the machine.
func pace(d ring.Design, m *ring.Memory) (float64, error) {
	r, err := newRing(d, m, paceSlots, paceFrame)
	if err != nil {
		return 0, err
	}
	var packet [64]byte
	best := time.Duration(1<<63 - 1)
	for range paceBatches {
		start := time.Now()
		for range pacePackets {
			slot, v := r.Acquire()
			if v != ring.Acquired {
				continue // cannot be: every slot is handed back
			}
			b := r.Frame(slot)
			copy(b[dataAt:], packet[:])
			r.Release(slot, tpacket.StatusUser)
			atomic.StoreUint32((*uint32)(unsafe.Pointer(unsafe.SliceData(b))), tpacket.StatusKernel)
		}
		best = min(best, time.Since(start))
	}
	return math.Round(10*float64(best)/pacePackets) / 10, nil
}

package race

import (
	"math"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

const (
	paceSlots   = 64
	paceFrame   = 256
	pacePackets = 2000 // a batch
	paceBatches = 20
)

// pace measures the cost of a packet of 64 bytes for a single writer, in nanoseconds:
// acquire, copy, release, and the reader's store that hands the slot back. It is the
// best of several batches, as other programs share the machine.
func pace(c Contender, m *ringmem.Memory) (float64, error) {
	if c == Blocks {
		return paceBlocks(m)
	}
	r, err := newSlots(c, m, paceSlots, paceFrame)
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

// paceBlocks is pace for blocks, two in the same memory: the reader hands one
// back whenever the writer finds the ring full.
func paceBlocks(m *ringmem.Memory) (float64, error) {
	b, err := newBlocks(m, 2, paceSlots*paceFrame/2)
	if err != nil {
		return 0, err
	}
	var packet [64]byte
	best := time.Duration(1<<63 - 1)
	handBack := func(block uint32) {
		d := (*tpacket.BlockDesc)(unsafe.Pointer(&m.Bytes()[block*b.Geometry().BlockSize]))
		atomic.StoreUint32(&d.Status, tpacket.StatusKernel)
	}
	for range paceBatches {
		start := time.Now()
		for written := 0; written < pacePackets; {
			room, v := b.Acquire(dataAt + 64)
			if v != ring.Acquired {
				handBack(0)
				handBack(1)
				continue
			}
			frame := b.Bytes(room)
			copy(frame[dataAt:], packet[:])
			tpacket.Header3At(frame).NextOffset = room.Size()
			b.Release(room)
			written++
		}
		best = min(best, time.Since(start))
	}
	return math.Round(10*float64(best)/pacePackets) / 10, nil
}

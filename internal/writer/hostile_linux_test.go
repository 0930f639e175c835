package writer_test

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// TestHostileReaderNeverGetsTwoWritersIntoOneSlot lets a reader that maps the
// memory itself store any status anywhere, at any time, while writers work.
func TestHostileReaderNeverGetsTwoWritersIntoOneSlot(t *testing.T) {
	for _, slots := range []uint32{2, 4} {
		r := sharedRing(t, tpacket.V2, slots, 2048)
		size := r.Geometry().Size()
		p, err := unix.MmapPtr(r.Memory().FD(), 0, nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.MunmapPtr(p, uintptr(size))
		theirs := unsafe.Slice((*uint32)(p), size/4)

		var stop atomic.Bool
		var hostile, writers sync.WaitGroup
		hostile.Go(func() {
			rng := rand.New(rand.NewPCG(3, 4))
			for !stop.Load() {
				i := rng.IntN(len(theirs))
				if rng.IntN(2) == 0 { // a status word, not just any
					i = i / 512 * 512
				}
				atomic.StoreUint32(&theirs[i], []uint32{0, 1, rng.Uint32()}[rng.IntN(3)])
			}
		})
		inside := make([]atomic.Int32, slots)
		var accepted, dropped atomic.Uint64
		const each = 50000
		for range 4 {
			writers.Go(func() {
				for range each {
					slot, v := r.Acquire()
					if v != ring.Acquired {
						dropped.Add(1)
						continue
					}
					if n := inside[slot].Add(1); n != 1 {
						t.Errorf("%d writers in slot %d", n, slot)
					}
					clear(r.Frame(slot)[64:256])
					inside[slot].Add(-1)
					r.Release(slot, tpacket.StatusUser)
					accepted.Add(1)
				}
			})
		}
		writers.Wait()
		stop.Store(true)
		hostile.Wait()
		if accepted.Load()+dropped.Load() != 4*each || accepted.Load() != r.Captured() {
			t.Errorf("accepted %d (captured %d) + dropped %d, offered %d", accepted.Load(), r.Captured(), dropped.Load(), 4*each)
		}
		t.Logf("slots=%d: %d of %d accepted beside a hostile reader", slots, accepted.Load(), 4*each)
	}
}

// TestHostileReaderNeverGetsTwoWritersIntoTheSameBytes is the same with blocks:
// whatever the reader stores into their headers and packets, no byte has two
// writers, every packet is counted, and the ring goes on once all is given back.
func TestHostileReaderNeverGetsTwoWritersIntoTheSameBytes(t *testing.T) {
	for _, blocks := range []uint32{1, 2, 3} {
		g := tpacket.Geometry{Version: tpacket.V3, BlockSize: 4096, BlockNr: blocks}
		m, err := ringmem.New(g.Size())
		if err != nil {
			t.Fatal(err)
		}
		b, err := writer.NewBlocks(m, g, writer.BlocksConfig{Retire: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		p, err := unix.MmapPtr(m.FD(), 0, nil, uintptr(g.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.MunmapPtr(p, uintptr(g.Size()))
		theirs := unsafe.Slice((*uint32)(p), g.Size()/4)

		var stop atomic.Bool
		var hostile, writers sync.WaitGroup
		hostile.Go(func() {
			rng := rand.New(rand.NewPCG(5, 6))
			for !stop.Load() {
				i := rng.IntN(len(theirs))
				switch block := i / 1024 * 1024; rng.IntN(4) {
				case 0, 1: // tp_status
					i = block + 2
				case 2: // the rest of the header: counts, offsets, sequence
					i = block + rng.IntN(12)
				}
				atomic.StoreUint32(&theirs[i], []uint32{0, 0, 0, 1, rng.Uint32()}[rng.IntN(5)])
				if rng.IntN(4) == 0 {
					runtime.Gosched()
				}
			}
		})
		inside := make([]atomic.Int32, g.Size()/8)
		var accepted, dropped atomic.Uint64
		const each = 20000
		for w := range 4 {
			writers.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(w), 7))
				for range each {
					n := 68 + rng.Uint32N(600)
					if rng.IntN(16) == 0 {
						n = b.MaxFrame() - rng.Uint32N(16)
					}
					room, v := b.Acquire(n)
					if v != ring.Acquired {
						dropped.Add(1)
						runtime.Gosched()
						continue
					}
					frame := b.Bytes(room)
					at := uintptr(unsafe.Pointer(&frame[0])) - uintptr(unsafe.Pointer(&m.Bytes()[0]))
					mine := inside[at/8:][:room.Size()/8]
					for i := range mine {
						if n := mine[i].Add(1); n != 1 {
							t.Errorf("%d writers in unit %d", n, at/8+uintptr(i))
						}
					}
					clear(frame)
					for i := range mine {
						mine[i].Add(-1)
					}
					b.Release(room)
					accepted.Add(1)
				}
			})
		}
		writers.Wait()
		stop.Store(true)
		hostile.Wait()
		if accepted.Load()+dropped.Load() != 4*each || accepted.Load() != b.Captured() {
			t.Errorf("accepted %d (captured %d) + dropped %d, offered %d", accepted.Load(), b.Captured(), dropped.Load(), 4*each)
		}
		for i := range 4 * blocks {
			for block := range blocks {
				atomic.StoreUint32(&theirs[block*1024+2], tpacket.StatusKernel)
			}
			room, v := b.Acquire(2000)
			if v == ring.Full { // it is this packet's block that the reader got
				atomic.StoreUint32(&theirs[2], tpacket.StatusKernel)
				room, v = b.Acquire(2000)
			}
			if v != ring.Acquired {
				t.Fatalf("packet %d after the reader gave everything back: %v", i, v)
			}
			b.Release(room)
		}
		t.Logf("blocks=%d: %d of %d accepted beside a hostile reader", blocks, accepted.Load(), 4*each)
	}
}

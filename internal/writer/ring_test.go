package writer_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rxring/rxring/internal/notify"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// heapRing is a ring of one-page blocks in memory that the race detector sees.
func heapRing(t testing.TB, v tpacket.Version, frames, frameSize uint32) *writer.Ring {
	t.Helper()
	return newRing(t, ringmem.NewHeap, v, frames, frameSize)
}

func sharedRing(t testing.TB, v tpacket.Version, frames, frameSize uint32) *writer.Ring {
	t.Helper()
	return newRing(t, func(size int) *ringmem.Memory {
		m, err := ringmem.New(size)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}, v, frames, frameSize)
}

func newRing(t testing.TB, alloc func(int) *ringmem.Memory, v tpacket.Version, frames, frameSize uint32) *writer.Ring {
	t.Helper()
	block := uint32(os.Getpagesize())
	for block < frameSize {
		block *= 2
	}
	perBlock := block / frameSize
	req := tpacket.Req{BlockSize: block, FrameSize: frameSize, BlockNr: (frames + perBlock - 1) / perBlock}
	req.FrameNr = req.BlockNr * perBlock
	g, err := tpacket.Layout(v, tpacket.Req3{Req: req}, 0, os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	if g.FrameNr != frames {
		t.Fatalf("%d frames of %d bytes do not fill whole blocks: %d would", frames, frameSize, g.FrameNr)
	}
	r, err := writer.New(alloc(g.Size()), g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func acquire(t *testing.T, r interface{ Acquire() (uint32, ring.Verdict) }, want ring.Verdict) uint32 {
	t.Helper()
	slot, v := r.Acquire()
	if v != want {
		t.Fatalf("acquire: %v, want %v", v, want)
	}
	return slot
}

func TestFastWriterThatWrapsCannotTakeSlotOfSlowWriter(t *testing.T) {
	for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2} {
		t.Run(v.String(), func(t *testing.T) {
			r := heapRing(t, v, 2, 2048)
			rd := writer.NewReader(r, new(notify.Notify))
			slow := acquire(t, r, ring.Acquired)
			fast := acquire(t, r, ring.Acquired)
			if slow == fast {
				t.Fatalf("both writers got slot %d", slow)
			}
			r.Release(fast, tpacket.StatusUser)
			if _, ok := rd.Next(); ok {
				t.Fatal("reader saw a packet before the slot in front of it was released")
			}
			// The slow writer's slot says KERNEL: only the owner map protects it.
			acquire(t, r, ring.Owned)
			r.Release(slow, tpacket.StatusUser)
			acquire(t, r, ring.Full)
			for range 2 {
				f, ok := rd.Next()
				if !ok {
					t.Fatal("reader misses a packet that was released")
				}
				f.Release()
			}
			if _, ok := rd.Next(); ok {
				t.Fatal("the reader got a packet that was never written")
			}
			if got := acquire(t, r, ring.Acquired); got != slow {
				t.Fatalf("ring went on at slot %d, want %d", got, slow)
			}
			if got := r.Captured(); got != 3 {
				t.Fatalf("captured %d, want 3", got)
			}
		})
	}
}

func TestEverySlotHasAnOwnerOfItsOwn(t *testing.T) {
	const slots = 130 // across words of the bitmap
	r := heapRing(t, tpacket.V2, slots, 2048)
	for want := range uint32(slots) {
		if got := acquire(t, r, ring.Acquired); got != want {
			t.Fatalf("slot %d, want %d", got, want)
		}
	}
	for slot := range uint32(slots) { // head waits at slot 0: release it last
		acquire(t, r, ring.Owned)
		r.Release(slots-1-slot, tpacket.StatusUser)
	}
	acquire(t, r, ring.Full)
}

func TestReadableWhenSlotBeforeHeadIsNotKernel(t *testing.T) {
	r := heapRing(t, tpacket.V2, 2, 2048)
	rd := writer.NewReader(r, new(notify.Notify))
	if r.Readable() {
		t.Fatal("an empty ring is readable")
	}
	a := acquire(t, r, ring.Acquired)
	if r.Readable() {
		t.Fatal("readable while the only packet is still being written")
	}
	r.Release(a, tpacket.StatusUser)
	if !r.Readable() {
		t.Fatal("not readable with a packet in it")
	}
	f, _ := rd.Next()
	f.Release()
	if r.Readable() {
		t.Fatal("readable after the reader took everything")
	}
}

func TestSlotsOfSlowWritersCountAsFree(t *testing.T) { // as in Linux, which looks at tp_status alone
	r := heapRing(t, tpacket.V2, 2, 2048)
	acquire(t, r, ring.Acquired)
	acquire(t, r, ring.Acquired)
	acquire(t, r, ring.Owned)
	if !r.Free(0) || !r.Free(1) {
		t.Errorf("free: %v, %v; want both", r.Free(0), r.Free(1))
	}
}

func TestV1StatusIsAnUnsignedLongAsLinuxStoresIt(t *testing.T) {
	r := heapRing(t, tpacket.V1, 2, 2048)
	slot := acquire(t, r, ring.Acquired)
	r.Release(slot, tpacket.StatusUser|tpacket.StatusTSRawHW)
	h := tpacket.Header1At(r.Frame(slot))
	if want := uint64(0xffffffff80000001); h.Status != want {
		t.Fatalf("tp_status %#x, want %#x", h.Status, want)
	}
}

func TestFramesThatDoNotFillTheirBlockSkipItsEnd(t *testing.T) {
	g, err := tpacket.Layout(tpacket.V2, tpacket.Req3{Req: tpacket.Req{BlockSize: 4096, BlockNr: 3, FrameSize: 1360, FrameNr: 9}}, 0, 4096)
	if err != nil {
		t.Fatal(err)
	}
	m := ringmem.NewHeap(g.Size())
	r, err := writer.New(m, g)
	if err != nil {
		t.Fatal(err)
	}
	for slot := range g.FrameNr {
		r.Frame(slot)[0] = byte(slot + 1)
	}
	for slot, at := range []int{0, 1360, 2720, 4096, 5456, 6816, 8192, 9552, 10912} {
		if got := m.Bytes()[at]; got != byte(slot+1) {
			t.Errorf("slot %d is not at byte %d", slot, at)
		}
	}
}

func TestRingRefusesMemoryAndShapesItCannotServe(t *testing.T) {
	g := tpacket.Geometry{Version: tpacket.V2, BlockSize: 4096, BlockNr: 1, FrameSize: 2048, FrameNr: 2, FramesPerBlock: 2}
	v3 := g
	v3.Version = tpacket.V3
	for name, c := range map[string]struct {
		g    tpacket.Geometry
		size int
	}{
		"memory too small": {g, 4095},
		"no frames":        {tpacket.Geometry{Version: tpacket.V2}, 4096},
		"blocks of V3":     {v3, 4096},
	} {
		if _, err := writer.New(ringmem.NewHeap(c.size), c.g); err == nil {
			t.Errorf("%s: no error", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	if _, err := ringmem.New(0); err == nil {
		t.Error("memory of 0 bytes: no error")
	}
}

func TestClosedRingGivesNoSlotAndLetsWritersInMidCopyFinish(t *testing.T) {
	r := sharedRing(t, tpacket.V2, 2, 2048)
	n := new(notify.Notify)
	rd := writer.NewReader(r, n)
	slot := acquire(t, r, ring.Acquired)
	frame := r.Frame(slot)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	clear(frame) // a late writer: private pages now
	r.Release(slot, tpacket.StatusUser)
	acquire(t, r, ring.NoRoom)
	if r.Captured() != 1 {
		t.Fatalf("captured %d after close, want 1", r.Captured())
	}
	if _, ok := rd.Next(); !ok {
		t.Fatal("the late packet is in memory that the ring still holds")
	}
	if err := rd.Wait(context.Background()); !errors.Is(err, ring.ErrClosed) {
		t.Fatalf("wait on a closed, empty ring: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatalf("second close: %v", err)
	}
}

func TestReaderBoundsWhatScribbledHeadersSay(t *testing.T) {
	for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2} {
		r := heapRing(t, v, 2, 2048)
		rd := writer.NewReader(r, new(notify.Notify))
		rng := rand.New(rand.NewPCG(1, 2))
		for range 1000 {
			slot := acquire(t, r, ring.Acquired)
			b := r.Frame(slot)
			for i := range 64 {
				b[i] = byte(rng.Uint32())
			}
			r.Release(slot, tpacket.StatusUser)
			f, ok := rd.Next()
			if !ok {
				t.Fatal("no packet")
			}
			if len(f.Data) > 2048 || f.Net > len(f.Data) {
				t.Fatalf("frame of 2048 bytes gave %d bytes of data, network header at %d", len(f.Data), f.Net)
			}
			f.Release()
		}
	}
}

// TestWritersAndLawfulReader is a bounded stress on memory that the race
// detector watches: every packet accepted is read once, in slot order, whole.
func TestWritersAndLawfulReader(t *testing.T) {
	for _, slots := range []uint32{2, 4, 64} {
		r := heapRing(t, tpacket.V2, slots, 2048)
		n := new(notify.Notify)
		rd := writer.NewReader(r, n)
		const writers, each = 4, 20000
		var accepted, dropped atomic.Uint64
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					slot, v := r.Acquire()
					if v != ring.Acquired {
						dropped.Add(1)
						n.Wake()
						continue
					}
					b := r.Frame(slot)
					h := tpacket.Header2At(b)
					h.Snaplen, h.Mac, h.Len = 1024, 64, uint32(w*each+i)
					for j := 64; j < 64+1024; j++ {
						b[j] = byte(w*31 + i)
					}
					r.Release(slot, tpacket.StatusUser)
					accepted.Add(1)
					n.Wake()
				}
			})
		}
		ctx, cancel := context.WithCancel(context.Background())
		go func() { wg.Wait(); cancel() }()
		read := uint64(0)
		for {
			f, ok := rd.Next()
			if !ok {
				if rd.Wait(ctx) != nil {
					if f, ok = rd.Next(); !ok {
						break
					}
				} else {
					continue
				}
			}
			w, i := f.Len/each, f.Len%each
			for _, b := range f.Data {
				if b != byte(int(w)*31+int(i)) {
					t.Fatalf("slots=%d: packet %d of writer %d is torn", slots, i, w)
				}
			}
			f.Release()
			read++
		}
		if read != accepted.Load() || read != r.Captured() || accepted.Load()+dropped.Load() != writers*each {
			t.Fatalf("slots=%d: read %d, accepted %d, captured %d, dropped %d of %d offered", slots, read, accepted.Load(), r.Captured(), dropped.Load(), writers*each)
		}
		t.Logf("slots=%d: read %d of %d", slots, read, writers*each)
	}
}

func TestSleepingReaderMissesNoWakeUp(t *testing.T) {
	r := heapRing(t, tpacket.V2, 2, 2048)
	n := new(notify.Notify)
	rd := writer.NewReader(r, n)
	const packets = 20000
	taken := make(chan struct{})
	go func() {
		for range packets {
			slot, v := r.Acquire()
			if v != ring.Acquired {
				t.Errorf("acquire: %v in a ring that the reader empties each time", v)
			}
			r.Release(slot, tpacket.StatusUser)
			n.Wake()
			<-taken // one at a time: a lost wake-up would stop both for good
		}
	}()
	for range packets {
		if err := rd.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		f, _ := rd.Next()
		f.Release()
		taken <- struct{}{}
	}
}

func TestCountersClearOnRead(t *testing.T) {
	c := new(writer.Counters)
	r := heapRing(t, tpacket.V2, 2, 2048)
	c.Attach(r)
	for range 2 {
		r.Release(acquire(t, r, ring.Acquired), tpacket.StatusUser)
	}
	c.Drop(ring.Full, 1)
	c.Drop(ring.Owned, 1)
	c.Drop(ring.NoRoom, 1)
	c.Filtered()
	if !c.Losing() {
		t.Error("not losing after drops")
	}
	if p, d := c.Statistics(); p != 5 || d != 3 {
		t.Errorf("statistics %d packets, %d drops: want 5 and 3", p, d)
	}
	if c.Losing() {
		t.Error("still losing after the drops were read")
	}
	if p, d := c.Statistics(); p != 0 || d != 0 {
		t.Errorf("second read: %d packets, %d drops: want 0 and 0", p, d)
	}
	r.Close()
	r2 := heapRing(t, tpacket.V2, 2, 2048)
	c.Attach(r2)
	acquire(t, r2, ring.Acquired)
	if p, _ := c.Statistics(); p != 1 {
		t.Errorf("%d packets after a ring was replaced, want 1", p)
	}
	want := ring.Totals{Filtered: 1, Captured: 3, Drops: ring.Drops{ring.Full: 1, ring.Owned: 1, ring.NoRoom: 1}}
	if got := c.Totals(); got != want || got.Offered() != 7 {
		t.Errorf("totals %+v, offered %d: want %+v and 7", got, got.Offered(), want)
	}
}

func TestABatchHoldsEachSlotOnce(t *testing.T) {
	const slots = 4
	r := heapRing(t, tpacket.V2, slots, 1024)
	rd := writer.NewReader(r, new(notify.Notify))
	for lap := range 3 {
		for range slots {
			r.Release(acquire(t, r, ring.Acquired), tpacket.StatusUser)
		}
		frames := make([]ring.Frame, 2*slots+1)
		if n := rd.NextBatch(frames); n != slots {
			t.Fatalf("lap %d: %d packets, want the %d that there are", lap, n, slots)
		}
		for i := range slots {
			frames[i].Release()
		}
		if n := rd.NextBatch(frames); n != 0 {
			t.Fatalf("lap %d: %d packets more", lap, n)
		}
	}
}

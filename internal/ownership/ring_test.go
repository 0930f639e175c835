package ownership_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/rxring/rxring/internal/notify"
	"github.com/rxring/rxring/internal/ownership"
	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// slotRing is a ring of slots of 2048 bytes.
func slotRing(t *testing.T, d ownership.Design, n uint32) *ownership.Ring {
	t.Helper()
	g := tpacket.Geometry{Version: tpacket.V2, BlockSize: 2048 * n, BlockNr: 1, FrameSize: 2048, FrameNr: n, FramesPerBlock: n}
	r, err := ownership.New(ringmem.NewHeap(g.Size()), g, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func acquire(t *testing.T, r *ownership.Ring, want ring.Verdict) uint32 {
	t.Helper()
	slot, v := r.Acquire()
	if v != want {
		t.Fatalf("acquire: %v, want %v", v, want)
	}
	return slot
}

func TestFreeSlotsAheadOfTheHead(t *testing.T) {
	for _, d := range ownership.Designs() {
		t.Run(d.String(), func(t *testing.T) {
			r := slotRing(t, d, 8)
			rd := writer.NewReader(r, new(notify.Notify))
			for range 6 {
				r.Release(acquire(t, r, ring.Acquired), tpacket.StatusUser)
			}
			want := []bool{true, true, false, false, false, false, false, false, true, true, false}
			look := func() {
				t.Helper()
				for ahead, free := range want {
					if got := r.Free(uint32(ahead)); got != free {
						t.Errorf("the slot %d after the head is free: %v, want %v", ahead, got, free)
					}
				}
			}
			look()
			f, ok := rd.Next()
			if !ok {
				t.Fatal("no packet")
			}
			f.Release()
			want[2], want[10] = true, true
			look()
		})
	}
}

// TestKernelOwnedDeceivesALegacyReader follows a slot from the writer's Acquire on,
// as libpcap and ring.Reader read it (any status but KERNEL is a packet) and as a
// reader that knows KERNEL_OWNED does.
func TestKernelOwnedDeceivesALegacyReader(t *testing.T) {
	r := slotRing(t, ownership.KernelOwned, 2)
	rd := writer.NewReader(r, new(notify.Notify))
	status := func() uint32 { return tpacket.Header2At(r.Frame(0)).Status }

	slot := acquire(t, r, ring.Acquired)
	half := r.Frame(slot)
	tpacket.Header2At(half).Snaplen, tpacket.Header2At(half).Mac = 100, 64
	copy(half[64:114], bytes.Repeat([]byte{1}, 50)) // half of a packet of a hundred ones
	if status() == tpacket.StatusKernel {
		t.Error("a legacy reader sees no packet while it is being written")
	}
	if !slices.Contains(half[64:164], 0) {
		t.Error("a legacy reader would read a whole packet")
	}
	if status() != ownership.StatusKernelOwned {
		t.Error("a reader that knows the status sees a packet while it is being written")
	}
	copy(half[114:164], bytes.Repeat([]byte{1}, 50))
	r.Release(slot, tpacket.StatusUser)
	f, ok := rd.Next()
	if !ok || slices.Contains(f.Data, 0) || len(f.Data) != 100 {
		t.Errorf("after the release: %v, % x", ok, f.Data)
	}
}

// TestSafeDesignsKeepTheSameRules runs the story of the fast writer and the slow
// one on every design that is safe for a lawful reader.
func TestSafeDesignsKeepTheSameRules(t *testing.T) {
	for _, d := range []ownership.Design{ownership.Ticket, ownership.OwnerMap, ownership.Tail, ownership.ShadowRing, ownership.KernelOwned, ownership.SlotMark, ownership.ReleaseAfter} {
		t.Run(d.String(), func(t *testing.T) {
			r := slotRing(t, d, 3)
			rd := writer.NewReader(r, new(notify.Notify))
			for lap := range 4 {
				var slots [5]uint32
				n, v := r.AcquireBatch(slots[:])
				if n != 3 || v != ring.Acquired {
					t.Fatalf("lap %d: a batch of 5 got %d slots, %v: want all 3", lap, n, v)
				}
				acquire(t, r, ring.Owned)
				if n, v := r.AcquireBatch(slots[3:]); n != 0 || v != ring.Owned {
					t.Fatalf("lap %d: a batch got %d slots that are owned, %v", lap, n, v)
				}
				r.Release(slots[2], tpacket.StatusUser) // out of order
				r.Release(slots[0], tpacket.StatusUser)
				r.Release(slots[1], tpacket.StatusUser)
				acquire(t, r, ring.Full)
				for range 3 {
					f, ok := rd.Next()
					if !ok {
						t.Fatalf("lap %d: a packet is missing", lap)
					}
					f.Release()
				}
			}
			if got := r.Captured(); got != 12 {
				t.Errorf("captured %d, want 12", got)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			acquire(t, r, ring.NoRoom)
		})
	}
}

func TestDesignsHaveNames(t *testing.T) {
	named := map[string]ownership.Design{}
	for _, d := range ownership.Designs() {
		if other, ok := named[d.String()]; ok || d.String() == "" {
			t.Errorf("design %d is named %q, as design %d is: want a name of its own", uint8(d), d, uint8(other))
		}
		named[d.String()] = d
	}
	if _, err := ownership.New(ringmem.NewHeap(4096), tpacket.Geometry{Version: tpacket.V2, BlockSize: 4096, BlockNr: 1, FrameSize: 2048, FrameNr: 2, FramesPerBlock: 2}, 99); err == nil {
		t.Error("a design that does not exist")
	}
}

package attach

import (
	"strings"
	"testing"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

func TestStatusDrawsARing(t *testing.T) {
	slots := tpacket.Geometry{Version: tpacket.V2, BlockSize: 4096, BlockNr: 2, FrameSize: 2048, FrameNr: 4, FramesPerBlock: 2}
	r, err := writer.New(ringmem.NewHeap(slots.Size()), slots)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 2 {
		if _, v := r.Acquire(); v != ring.Acquired {
			t.Fatal(v)
		}
	}
	r.Release(0, tpacket.StatusUser)
	wantStatus(t, r, RingStatus{Version: "V2", Slots: 4, SlotBytes: 2048, States: "Rw..", Head: 2})

	blocks := tpacket.Geometry{Version: tpacket.V3, BlockSize: 4096, BlockNr: 3, FrameSize: 2048, FrameNr: 6, FramesPerBlock: 2}
	b, err := writer.NewBlocks(ringmem.NewHeap(blocks.Size()), blocks, writer.BlocksConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	wantStatus(t, b, RingStatus{Version: "V3", Slots: 3, SlotBytes: 4096, States: "...", Head: 0})
}

func TestStatusOfALargeRingHasFewLetters(t *testing.T) {
	g := tpacket.Geometry{Version: tpacket.V1, BlockSize: 4096, BlockNr: 1000, FrameSize: 2048, FrameNr: 2000, FramesPerBlock: 2}
	r, err := writer.New(ringmem.NewHeap(g.Size()), g)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 1000 {
		if _, v := r.Acquire(); v != ring.Acquired {
			t.Fatal(v)
		}
	}
	wantStatus(t, r, RingStatus{
		Version: "V1", Slots: 2000, SlotBytes: 2048,
		States: strings.Repeat("w", 128) + strings.Repeat(".", 128), Head: 128,
	})
}

func wantStatus(t *testing.T, b writer.Buffer, want RingStatus) {
	t.Helper()
	if got := *ringStatus(b); got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

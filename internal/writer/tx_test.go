package writer_test

import (
	"testing"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/tpacket"
)

// TestTransmitRingGoesRoundInOrder: a frame is sent when it is the head's turn,
// and only with the one status that asks for it.
func TestTransmitRingGoesRoundInOrder(t *testing.T) {
	for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2, tpacket.V3} {
		t.Run(v.String(), func(t *testing.T) {
			g := tpacket.Geometry{Version: v, BlockSize: 4096, BlockNr: 2, FrameSize: 1360, FrameNr: 6, FramesPerBlock: 3}
			r, err := writer.NewTx(newMemory(t, g.Size()), g)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for lap := range 2 {
				for i := range g.FrameNr {
					if r.Requested() {
						t.Fatalf("lap %d: frame %d is to be sent before anybody asked for it", lap, i)
					}
					for _, s := range []uint32{tpacket.StatusSending, tpacket.StatusWrongFormat, tpacket.StatusSendRequest | tpacket.StatusSending, 1 << 31} {
						if r.SetStatus(s); r.Requested() {
							t.Fatalf("frame %d is to be sent with status %#x", i, s)
						}
					}
					r.SetStatus(tpacket.StatusSendRequest)
					if !r.Requested() {
						t.Fatalf("frame %d is not to be sent", i)
					}
					if got := &r.Memory().Bytes()[g.FrameOffset(i)]; got != &r.Frame()[0] || len(r.Frame()) != 1360 {
						t.Fatalf("frame %d is elsewhere", i)
					}
					r.SetStatus(tpacket.StatusAvailable)
					r.Advance()
				}
			}
			r.SetStatus(tpacket.StatusSendRequest)
			if r.Close(); r.Requested() {
				t.Error("a closed ring has something to send")
			}
		})
	}
}

// TestV1StatusIsAnInt: the upper half of the unsigned long does not count.
func TestV1StatusIsAnInt(t *testing.T) {
	g := tpacket.Geometry{Version: tpacket.V1, BlockSize: 4096, BlockNr: 1, FrameSize: 4096, FrameNr: 1, FramesPerBlock: 1}
	r, err := writer.NewTx(newMemory(t, g.Size()), g)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	tpacket.Header1At(r.Frame()).Status = 1<<32 | tpacket.StatusSendRequest
	if !r.Requested() {
		t.Error("not to be sent")
	}
}

func TestTransmitRingWithoutRoomIsRefused(t *testing.T) {
	g := tpacket.Geometry{Version: tpacket.V2, BlockSize: 4096, BlockNr: 1, FrameSize: 2048, FrameNr: 2, FramesPerBlock: 2}
	for name, change := range map[string]func(*tpacket.Geometry){
		"no frame":         func(g *tpacket.Geometry) { g.FrameNr = 0 },
		"no memory":        func(g *tpacket.Geometry) { g.BlockNr = 2 },
		"no header's room": func(g *tpacket.Geometry) { g.FrameSize = 48 },
	} {
		g := g
		change(&g)
		if _, err := writer.NewTx(ringmem.NewHeap(4096), g); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

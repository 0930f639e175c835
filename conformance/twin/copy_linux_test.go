package twin_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// TestWholeCopiesOfCutPacketsAreQueued compares frames, TP_STATUS_COPY in them,
// and what recvmsg gives, until the queue and then the ring are full.
func TestWholeCopiesOfCutPacketsAreQueued(t *testing.T) {
	withTwins(t, func(w *twins) {
		copies := packetInt{tpacket.OptCopyThresh, 1}
		auxdata := packetInt{tpacket.OptAuxdata, 1}
		ip := ipPacket(17, 700)
		frames := map[string][]byte{
			"short":      rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip[:100]),
			"long":       rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip),
			"tagged":     rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip, 0x8100, 5),
			"tagged two": rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, ip, 0x88a8, 5, 0x8100, 6),
		}
		for _, c := range []struct {
			name    string
			typ     rxring.SockType
			options []packetInt
		}{
			{"raw", rxring.SockRaw, []packetInt{copies}},
			{"raw, negative threshold", rxring.SockRaw, []packetInt{{tpacket.OptCopyThresh, -1}}},
			{"raw, no copies", rxring.SockRaw, []packetInt{copies, {tpacket.OptCopyThresh, 0}}},
			{"dgram", rxring.SockDgram, []packetInt{copies}},
			{"raw, vnet header", rxring.SockRaw, []packetInt{copies, {tpacket.OptVnetHdr, 1}}},
			{"raw, nothing fits", rxring.SockRaw, []packetInt{copies, {tpacket.OptReserve, 450}}},
		} {
			r := w.ring(c.name, c.typ, tpacket.ETHPAll, append(c.options, auxdata)...)
			s := r.twinSocket
			queued := 0
			receive := func(what string) {
				for s.recv(what, 1000, 200, 0).errno == 0 {
					queued++
				}
			}
			for what, frame := range frames {
				w.arrives(frame)
				r.compare(t, "in: "+what)
				receive("in: " + what)
				w.leaves(binary.BigEndian.Uint16(frame[12:]), frame)
				r.compare(t, "out: "+what)
				receive("out: " + what)
			}
			wantSome := c.name != "raw, no copies"
			if queued > 0 != wantSome {
				t.Errorf("%s: %d packets queued", c.name, queued)
			}
			s.set(rxtest.SolSocket, rxtest.SoRcvbuf, rxtest.Int(5000))
			for range r.kernel.Geometry.FrameNr + 3 {
				w.arrives(frames["long"])
			}
			r.compare(t, "queue and ring full")
			receive("queue and ring full")
			st, err := r.kernel.Option(tpacket.OptStatistics, make([]byte, tpacket.SizeofStats))
			rxtest.Must(t, err)
			if got, want := r.ours.Statistics(), tpacket.Parse[tpacket.Stats](st); got.Packets != want.Packets || got.Drops != want.Drops {
				t.Errorf("%s: statistics %+v, the kernel's %+v", c.name, got, want)
			}
			r.close(t)
		}
	})
}

// TestBatchesAreCopiedWholeToo: the same as one by one.
func TestBatchesAreCopiedWholeToo(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, _ := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, tpacket.Req{BlockSize: 4096, BlockNr: 2, FrameSize: 256, FrameNr: 32})
	rxtest.Must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptCopyThresh, rxtest.Int(1)))
	var ps []rxring.Packet
	for i := range 20 {
		ps = append(ps, rxring.Packet{Data: rxtest.Frame(100 + i%3*200)})
	}
	dev.DeliverBatch(ps)
	b := make([]byte, 1000)
	for i, p := range ps {
		if len(p.Data) < 200 {
			continue
		}
		if m, err := s.Recv(b, 0); err != nil || m.N != len(p.Data) {
			t.Errorf("packet %d: %d bytes, %v: want %d", i, m.N, err, len(p.Data))
		}
	}
	if _, err := s.Recv(b, 0); err == nil {
		t.Error("a copy too many")
	}
	if got := fmt.Sprint(s.Totals().Captured); got != "20" {
		t.Errorf("%s captured, want 20: copies do not count", got)
	}
}

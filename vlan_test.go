package rxring_test

import (
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// TestTaggedFramesInPiecesAndBatches wants the same of a frame however it lies
// in memory and is delivered.
func TestTaggedFramesInPiecesAndBatches(t *testing.T) {
	payload := make([]byte, 400)
	for i := range payload {
		payload[i] = byte(i)
	}
	frame := rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, payload, 0x88a8, 5, 0x8100, 6)
	collect := func(deliver func(*rxring.Device)) (all [][]byte) {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "tap0", HardwareAddr: rxtest.OwnAddr})
		for _, typ := range []rxring.SockType{rxring.SockRaw, rxring.SockDgram} {
			for _, protocol := range []uint16{tpacket.ETHPAll, tpacket.ETHP8021Q} {
				s, _ := rxtest.Open(t, ns, typ, tpacket.V2, rxtest.SmallRing)
				rxtest.Must(t, s.BindDevice(dev, protocol))
				defer func() {
					for i := range uint32(4) {
						all = append(all, append([]byte(nil), s.Ring().(*ring.Ring).Frame(i)...))
					}
				}()
			}
		}
		deliver(dev)
		return all
	}
	pieces := func(cuts ...int) rxring.Packet {
		p := rxring.Packet{Timestamp: 1}
		rest := frame
		for i, n := range cuts {
			if i == 0 {
				p.Data = rest[:n]
			} else {
				p.Rest = append(p.Rest, rest[:n])
			}
			rest = rest[n:]
		}
		p.Rest = append(p.Rest, rest)
		return p
	}
	shapes := []rxring.Packet{{Data: frame, Timestamp: 1}, pieces(14), pieces(14, 1, 0, 1, 1, 1, 100), pieces(15, 3, 7), pieces(300), pieces(190, 1, 1, 1, 1, 1, 1)}
	crumbs := pieces(14)
	crumbs.Rest = nil
	for i := range frame[14:] {
		crumbs.Rest = append(crumbs.Rest, frame[14+i:15+i])
	}
	shapes = append(shapes, crumbs)
	for _, outgoing := range []bool{false, true} {
		var want [][]byte
		for i, p := range shapes {
			p.Outgoing = outgoing
			plain := rxring.Packet{Data: rxtest.TaggedFrame(rxtest.OwnAddr, 0x800, payload), Timestamp: 1}
			for _, batch := range []bool{false, true} {
				got := collect(func(dev *rxring.Device) {
					ps := []rxring.Packet{plain, p, p, plain}
					if batch {
						dev.DeliverBatch(ps)
						return
					}
					for i := range ps {
						dev.Deliver(&ps[i])
					}
				})
				if want == nil {
					want = got
				}
				for j := range want {
					if string(got[j]) != string(want[j]) {
						t.Errorf("shape %d, outgoing %v, batch %v, frame %d: % x\nwant % x", i, outgoing, batch, j, got[j][:120], want[j][:120])
					}
				}
			}
		}
	}
}

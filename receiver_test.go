package rxring_test

import (
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// A source delivers to one receiver at once and to another later: each has every packet
// once, in order, as one delivery to both would have given it, and the device counts it once.
func TestASourceDeliversToOneReceiverLater(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	if err != nil {
		t.Fatal(err)
	}
	req := tpacket.Req3{Req: tpacket.Req{BlockSize: 1 << 16, BlockNr: 1, FrameSize: 1 << 11, FrameNr: 32}}
	prompt, _ := reading(t, dev, tpacket.V2, req)
	late, reader := reading(t, dev, tpacket.V2, req)
	at := dev.Moment()
	after, _ := reading(t, dev, tpacket.V2, req) // bound after the packets came

	frame := func(i byte) []byte {
		b := make([]byte, 60)
		b[12], b[13], b[14] = 0x88, 0xb5, i
		return b
	}
	tagged := make([]byte, 60)
	copy(tagged[12:], []byte{0x81, 0, 0, 7, 0x88, 0xb5, 1})
	ps := []rxring.Packet{{Data: frame(0)}, {Data: tagged}, {Data: []byte{1, 2}}, {Data: tagged[:17]}, {Data: frame(2)}}

	all := dev.Receivers(nil)
	if len(all) != 3 || all[0] != dev.Receivers(nil)[0] || all[0] == all[1] || all[1].RoomFor(4) != 4 {
		t.Fatalf("receivers %v", all)
	}
	dev.DeliverBatchTo([]rxring.Receiver{all[0], all[2]}, at, ps)
	if n := late.Totals().Offered(); n != 0 {
		t.Errorf("the late one has %d packets before its delivery", n)
	}
	dev.DeliverLate(all[1], at, ps[:1])
	dev.DeliverLate(all[1], at, ps[1:])
	dev.DeliverLate(all[2], at, ps)
	want := ring.Totals{Captured: 3}
	want.Drops[ring.Malformed] = 1
	if a, b, c := prompt.Totals(), late.Totals(), after.Totals(); a != want || b != want || c != (ring.Totals{}) {
		t.Errorf("prompt %+v, late %+v, want %+v; bound after %+v", a, b, want, c)
	}
	for i := range byte(3) {
		f, ok := reader.Next()
		if !ok || f.Data[14] != i {
			t.Errorf("packet %d: %v, % x", i, ok, f.Data)
		}
		if tci := f.VLANTCI; ok && (tci == 7) != (i == 1) {
			t.Errorf("packet %d: tag %d", i, tci)
		}
	}
	if in, _ := dev.Traffic(); in.Packets != 4 || dev.Malformed() != 2 {
		t.Errorf("the device counts %+v, %d malformed", in, dev.Malformed())
	}
}

// None of a group's members is to wait for another; a socket that nobody holds is not
// waited for.
func TestAReceiverOfSeveralSocketsHasRoom(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0"})
	if err != nil {
		t.Fatal(err)
	}
	req := tpacket.Req3{Req: tpacket.Req{BlockSize: 1 << 12, BlockNr: 1, FrameSize: 1 << 11, FrameNr: 2}}
	first, _ := reading(t, dev, tpacket.V2, req)
	if err := first.JoinFanout(rxring.FanoutConfig{}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		dev.Deliver(&rxring.Packet{Data: make([]byte, 60)})
	}
	room := func() int { return dev.Receivers(nil)[0].RoomFor(5) }
	if got := room(); got != 0 {
		t.Errorf("a group of one, full: room for %d of 5", got)
	}
	first.SetHeld(false)
	if got := room(); got != 5 {
		t.Errorf("nobody holds its socket: room for %d of 5", got)
	}
	first.SetHeld(true)
	second, _ := reading(t, dev, tpacket.V2, req)
	if err := second.JoinFanout(rxring.FanoutConfig{}); err != nil {
		t.Fatal(err)
	}
	if got := room(); got != 5 {
		t.Errorf("a group of two: room for %d of 5", got)
	}
}

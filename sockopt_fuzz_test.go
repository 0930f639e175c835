package rxring_test

import (
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// FuzzSocketOptions sets and reads options as a hostile program would, with
// packets between: nothing panics, no option reports more than there was room
// for, and memory stays within the namespace's bound.
func FuzzSocketOptions(f *testing.F) {
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptRxRing), tpacket.Bytes(&rxtest.SmallRing))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptVersion), rxtest.Int(2))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptReserve), rxtest.Int(70000))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptVnetHdrSz), rxtest.Int(12))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptCopyThresh), rxtest.Int(1))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptAddMembership), append(rxtest.Int(2), 0, 0, 6, 0, 1, 0, 0x5e, 0, 0, 0xfb, 0, 0))
	f.Add(uint16(tpacket.SolPacket), uint8(tpacket.OptFanout), rxtest.Int(1<<16))
	f.Add(uint16(rxtest.SolSocket), uint8(33), rxtest.Int(1<<30))
	f.Add(uint16(rxtest.SolSocket), uint8(20), make([]byte, 16))
	f.Add(uint16(rxtest.SolSocket), uint8(25), []byte("net0"))
	f.Fuzz(func(t *testing.T, level uint16, name uint8, val []byte) {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: 1 << 20})
		dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
		s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(t, err)
		defer s.Close()
		other, _ := rxtest.Open(t, ns, rxring.SockDgram, tpacket.V2, rxtest.SmallRing)
		for _, s := range []*rxring.Socket{s, other} {
			if err := s.Setsockopt(int(level), int(name), val); err == nil && len(val) > 4096 {
				t.Logf("option %d %d takes %d bytes", level, name, len(val))
			}
			room := make([]byte, len(val)%64)
			copy(room, val)
			if n, err := s.Getsockopt(int(level), int(name), room); err == nil && n > len(room) {
				t.Errorf("option %d %d: %d bytes in %d", level, name, n, len(room))
			}
		}
		for range 3 {
			dev.Deliver(&rxring.Packet{Data: rxtest.Frame(100)})
			dev.Deliver(&rxring.Packet{Data: rxtest.Frame(3000), Outgoing: true})
		}
		b := make([]byte, 200)
		for _, s := range []*rxring.Socket{s, other} {
			for {
				m, err := s.Recv(b, 0)
				if err != nil {
					break
				}
				if c := m.Control(len(val)); len(c) > len(val) {
					t.Errorf("%d bytes of control messages in %d", len(c), len(val))
				}
			}
			if got := s.Totals(); got.Offered() > 6 {
				t.Errorf("%+v: offered were 6", got)
			}
		}
	})
}

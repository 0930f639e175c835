package rxring_test

import (
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// TestFragmentsKeepWhatIsBesideTheFrame: a packet that is put together from fragments
// has the link-layer address of the first, though its source reuses the memory.
func TestFragmentsKeepWhatIsBesideTheFrame(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "cooked", Type: tpacket.ARPHRDPPP})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer s.Close()
	rxtest.Must(t, s.BindDevice(dev, tpacket.ETHPAll), s.JoinFanout(rxring.FanoutConfig{Mode: rxring.FanoutLB, Flags: rxring.FanoutFlagDefrag}))
	fragment := func(offset, flags byte) []byte {
		h := []byte{0x45, 0, 0, 36, 0, 7, flags, offset, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}
		sum := uint32(0)
		for i := 0; i < len(h); i += 2 {
			sum += uint32(h[i])<<8 | uint32(h[i+1])
		}
		sum = sum&0xffff + sum>>16
		h[10], h[11] = byte(^sum>>8), byte(^sum)
		return append(h, make([]byte, 16)...)
	}
	link := rxring.Link{Protocol: tpacket.ETHPIP, Hatype: tpacket.ARPHRDLoopback, Ifindex: 77, AddrLen: 1, Addr: [8]byte{9}}
	dev.Deliver(&rxring.Packet{Data: fragment(0, 0x20), Link: &link})
	link.Ifindex, link.Addr = 78, [8]byte{8}
	dev.Deliver(&rxring.Packet{Data: fragment(2, 0), Link: &link})

	b := make([]byte, 100)
	m, err := s.Recv(b, 0)
	rxtest.Must(t, err)
	if m.Copied != 52 || m.From.Ifindex != 77 || m.From.Hatype != tpacket.ARPHRDLoopback || m.From.Addr[0] != 9 {
		t.Errorf("%d bytes from %+v, want 52 from device 77 of type %d, address 9", m.Copied, m.From, tpacket.ARPHRDLoopback)
	}
}

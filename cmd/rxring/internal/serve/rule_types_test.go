package serve

import (
	"errors"
	"testing"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/tpacket"
)

// A rule's filter finds IP wherever a device's packets have it, and accepts nothing
// pass that only looks like IP.
func TestFilterOfARuleOnDevicesOfEveryType(t *testing.T) {
	prog, err := compile("udp port 2222")
	if errors.Is(err, errors.ErrUnsupported) {
		need.Skip(t, need.Programs, "%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	f, err := cbpf.Compile(prog)
	if err != nil {
		t.Fatal(err)
	}
	ip := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 4, 87, 8, 174, 0, 8, 0, 0}
	other := append(append([]byte(nil), ip[:22]...), 0, 53, 0, 8, 0, 0)
	ether := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}
	for _, c := range []struct {
		what     string
		hatype   uint16
		protocol uint16
		header   []byte
		payload  []byte
		want     bool
	}{
		{"Ethernet", tpacket.ARPHRDEther, tpacket.ETHPIP, ether, ip, true},
		{"Ethernet, another port", tpacket.ARPHRDEther, tpacket.ETHPIP, ether, other, false},
		{"loopback", tpacket.ARPHRDLoopback, tpacket.ETHPIP, ether, ip, true},
		{"bare IP", tpacket.ARPHRDNone, tpacket.ETHPIP, nil, ip, true},
		{"bare IP, another port", tpacket.ARPHRDNone, tpacket.ETHPIP, nil, other, false},
		{"PPP", tpacket.ARPHRDPPP, tpacket.ETHPIP, nil, ip, true},
		{"Cisco HDLC", tpacket.ARPHRDCisco, tpacket.ETHPIP, []byte{0x0f, 0, 8, 0}, ip, true},
		{"Cisco HDLC, another port", tpacket.ARPHRDCisco, tpacket.ETHPIP, []byte{0x0f, 0, 8, 0}, other, false},
		{"a frame of 802.11 that begins like IP", tpacket.ARPHRDIEEE80211, tpacket.ETHP8022, nil, ip, false},
	} {
		data := append(append([]byte(nil), c.header...), c.payload...)
		got := f.Run(&cbpf.Packet{Data: data, Len: uint32(len(data)), Hatype: c.hatype, Protocol: c.protocol, NetOff: uint32(len(c.header))})
		if (got > 0) != c.want {
			t.Errorf("%s: %d, want that it passes: %v", c.what, got, c.want)
		}
	}
}

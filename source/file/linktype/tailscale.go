package linktype

import (
	"encoding/binary"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/tpacket"
)

// Where a packet of a capture of tailscale passed. A packet of another path, such as 254 for
// its discovery protocol, is not an IP packet.
const (
	tailscaleFromLocal        = 0
	tailscaleFromPeer         = 1
	tailscaleSynthesizedLocal = 2
	tailscaleSynthesizedPeer  = 3
)

// decodeTailscale reads the header of `tailscale debug capture`: the path in 2 bytes,
// little-endian, then the addresses before SNAT and before DNAT, each after its length in one
// byte, which is 0, 4 or 16. An IP packet follows. Link type 147 is for private use, so what
// does not have this form is another program's, and no packet.
func decodeTailscale(b []byte, l *rxring.Link) []byte {
	if len(b) < 2 {
		return nil
	}
	switch binary.LittleEndian.Uint16(b) {
	case tailscaleFromLocal, tailscaleSynthesizedPeer:
		l.Type = tpacket.PacketOutgoing
	case tailscaleFromPeer, tailscaleSynthesizedLocal:
	default:
		return nil
	}
	b = b[2:]
	for range 2 {
		if len(b) == 0 {
			return nil
		}
		n := int(b[0])
		if n != 0 && n != 4 && n != 16 || len(b) < 1+n {
			return nil
		}
		b = b[1+n:]
	}
	if len(b) == 0 || b[0]>>4 != 4 && b[0]>>4 != 6 {
		return nil
	}
	return b
}

package capture

import "encoding/binary"

// Membership is something that a device can be asked to hear (struct packet_mreq,
// linux/if_packet.h).
type Membership struct {
	Type uint16
	Addr [6]byte // with Multicast and Unicast
}

// Types of memberships.
const (
	Multicast    = 0 // PACKET_MR_MULTICAST: packets to the group Addr
	Promiscuous  = 1 // PACKET_MR_PROMISC: packets to anybody
	AllMulticast = 2 // PACKET_MR_ALLMULTI: packets to any group
	Unicast      = 3 // PACKET_MR_UNICAST: packets to the host Addr
)

// mreq is m as a struct packet_mreq, whose address has room for 8 bytes.
func (m Membership) mreq(ifindex int) []byte {
	b := binary.NativeEndian.AppendUint16(u32(uint32(ifindex)), m.Type)
	n := 0
	if m.Type == Multicast || m.Type == Unicast {
		n = len(m.Addr)
	}
	b = binary.NativeEndian.AppendUint16(b, uint16(n))
	b = append(b, m.Addr[:n]...)
	return append(b, make([]byte, 8-n)...)
}

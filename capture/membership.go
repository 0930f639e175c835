package capture

import "encoding/binary"

// Membership describes packets that a device is to receive (struct packet_mreq,
// linux/if_packet.h).
type Membership struct {
	Type uint16
	Addr [6]byte // with Multicast and Unicast

	Ifindex int // of the device; 0: the handle's, which a handle of all devices does not have
}

// Types of memberships.
const (
	Multicast    = 0 // PACKET_MR_MULTICAST: packets to the multicast address Addr
	Promiscuous  = 1 // PACKET_MR_PROMISC: all packets
	AllMulticast = 2 // PACKET_MR_ALLMULTI: all multicast packets
	Unicast      = 3 // PACKET_MR_UNICAST: packets to the unicast address Addr
)

// mreq encodes m as a struct packet_mreq, whose address field has 8 bytes. ifindex replaces
// an Ifindex of 0.
func (m Membership) mreq(ifindex int) []byte {
	if m.Ifindex != 0 {
		ifindex = m.Ifindex
	}
	b := binary.NativeEndian.AppendUint16(u32(uint32(ifindex)), m.Type)
	n := 0
	if m.Type == Multicast || m.Type == Unicast {
		n = len(m.Addr)
	}
	b = binary.NativeEndian.AppendUint16(b, uint16(n))
	b = append(b, m.Addr[:n]...)
	return append(b, make([]byte, 8-n)...)
}

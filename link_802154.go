package rxring

import (
	"encoding/binary"
	"slices"

	"github.com/rxring/rxring/tpacket"
)

// parse802154 finds the MAC header's end and the sender's long address, as
// ieee802154_hdr_pull and mac802154_header_parse do (net/ieee802154/header_ops.c).
func (a *arrival) parse802154(head []byte) {
	const (
		security, intraPAN = 1 << 3, 1 << 6 // of the frame control field
		panLen             = 2
		shortLen, longLen  = 2, 8
		broadcastShort     = 0xffff
	)
	a.protocol = tpacket.ETHPIEEE802154
	a.from.Pkttype = tpacket.PacketOtherHost
	if len(head) < 3 {
		return // a driver's device would drop it, a monitor shows it
	}
	control := binary.LittleEndian.Uint16(head)
	at := 3 // control and sequence number
	addrLen := [4]int{0, 0, shortLen, longLen}
	dst, src := addrLen[control>>10&3], addrLen[control>>14]
	if dst > 0 {
		at += panLen
		if dst == shortLen && len(head) >= at+dst && binary.LittleEndian.Uint16(head[at:]) == broadcastShort {
			a.from.Pkttype = tpacket.PacketBroadcast
		}
		at += dst
	}
	if src > 0 && (control&intraPAN == 0 || dst == 0) {
		at += panLen
	}
	if src == longLen && len(head) >= at+src {
		a.from.Halen = longLen
		copy(a.from.Addr[:], head[at:at+src])
		slices.Reverse(a.from.Addr[:]) // little-endian in the frame
	}
	at += src
	if control&security != 0 && len(head) > at {
		keyLen := [4]int{0, 1, 5, 9}
		at += 1 + 4 + keyLen[head[at]>>3&3] // security control, frame counter, key identifier
	}
	if at <= len(head) {
		a.maclen = uint32(at)
	}
}

package tun

import (
	"encoding/binary"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/tpacket"
)

// headers are the Ethernet headers that packets get on an Ethernet device: one for each
// direction and IP version. nil: packets have none.
type headers struct {
	out4, out6, in4, in6 [headerLen]byte
}

const headerLen = 14 // ETH_HLEN

// newHeaders returns the headers between a device with the address addr and a peer with
// another one.
func newHeaders(addr [6]byte) *headers {
	peer := addr
	peer[5] ^= 1
	h := new(headers)
	for _, header := range []struct {
		b         *[headerLen]byte
		dst, src  [6]byte
		etherType uint16
	}{
		{&h.out4, peer, addr, tpacket.ETHPIP},
		{&h.out6, peer, addr, tpacket.ETHPIPv6},
		{&h.in4, addr, peer, tpacket.ETHPIP},
		{&h.in6, addr, peer, tpacket.ETHPIPv6},
	} {
		copy(header.b[:6], header.dst[:])
		copy(header.b[6:12], header.src[:])
		binary.BigEndian.PutUint16(header.b[12:], header.etherType)
	}
	return h
}

// size returns the length of a header, 0 without one.
func (h *headers) size() int {
	if h == nil {
		return 0
	}
	return headerLen
}

// add adds an IP packet to b.
func (h *headers) add(b *rxring.Batch, packet []byte, outgoing bool) {
	p := b.Next()
	p.Outgoing = outgoing
	if h == nil {
		p.Data = packet
		return
	}
	b.AddPiece(h.of(packet, outgoing))
	b.AddPiece(packet)
}

// of returns the header of a packet. One that is of no IP version has IPv4's.
func (h *headers) of(packet []byte, outgoing bool) []byte {
	switch v6 := packet[0]>>4 == 6; {
	case outgoing && v6:
		return h.out6[:]
	case outgoing:
		return h.out4[:]
	case v6:
		return h.in6[:]
	default:
		return h.in4[:]
	}
}

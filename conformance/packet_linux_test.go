package conformance

import (
	"encoding/binary"
	"fmt"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/tpacket"
)

// The devices: a TAP and a TUN on the kernel's side, an Ethernet and a raw-IP
// device on rxring's, with the same names, indexes and addresses; and lo, which
// each side has by itself.
const (
	tap0 = "tap0"
	tun0 = "tun0"
	lo   = "lo"

	loIndex   = 1
	tapIndex  = 10
	tunIndex  = 11
	nextIndex = 12 // of what comes back

	deviceMTU = 9216
)

var ourAddr = [6]byte{2, 0, 0, 0, 0, 1}

// destination is the addressee of a frame.
type destination int

const (
	toUs destination = iota
	toAll
	toGroup
	toOther
)

func (d destination) addr() []byte {
	return [][]byte{ourAddr[:], {255, 255, 255, 255, 255, 255}, {1, 0, 0x5e, 0, 0, 0xfb}, {2, 0, 0, 0, 0, 3}}[d]
}

func (d destination) String() string { return []string{"toUs", "toAll", "toGroup", "toOther"}[d] }

// packet describes a packet. Its bytes follow from the description.
type packet struct {
	to    destination
	tag   uint32 // VLAN: TPID<<16 | TCI, 0 for none
	proto uint16 // EtherType; below 0x600, a length
	n     int    // bytes behind the link-layer header and the tag
	load  offload
}

// delivery is how a packet is handed to rxring. It makes no difference to who
// receives it.
type delivery int

const (
	whole      delivery = iota // Device.Deliver
	inPieces                   // Packet.Rest
	inBatches                  // Device.DeliverBatch
	tagsBeside                 // Packet.VLAN, not in the frame: only of what comes in
)

func (d delivery) String() string {
	return []string{"whole", "inPieces", "inBatches", "tagsBeside"}[d]
}

// offload is what is left to be done to the packet.
type offload struct {
	flags, gsoType  uint8 // VIRTIO_NET_HDR_*
	hdrLen, gsoSize uint16
}

func (p packet) String() string {
	s := fmt.Sprintf("packet{to: %v, proto: %#04x, n: %d", p.to, p.proto, p.n)
	if p.tag != 0 {
		s += fmt.Sprintf(", tag: %#08x", p.tag)
	}
	if p.load != (offload{}) {
		s += fmt.Sprintf(", load: offload{%d, %d, %d, %d}", p.load.flags, p.load.gsoType, p.load.hdrLen, p.load.gsoSize)
	}
	return s + "}"
}

// bytes is the packet from its link-layer header on, if the device has one.
func (p packet) bytes(dev string) []byte {
	var b []byte
	if dev != tun0 {
		b = append(b, p.to.addr()...)
		b = append(b, 2, 0, 0, 0, 0, 2)
		if p.tag != 0 {
			b = binary.BigEndian.AppendUint32(b, p.tag)
		}
		b = binary.BigEndian.AppendUint16(b, p.proto)
	}
	return append(b, p.payload()...)
}

func (p packet) payload() []byte {
	b := make([]byte, p.n)
	for i := range b {
		b[i] = byte(i + i>>8)
	}
	switch p.proto {
	case tpacket.ETHPIP:
		h := []byte{0x45, 0, byte(p.n >> 8), byte(p.n), 0x12, 0x34, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1,
			0x9c, 0x40, 0, 53, byte((p.n - 20) >> 8), byte(p.n - 20), 0, 0}
		copy(b, h)
	case tpacket.ETHPIPv6:
		h := make([]byte, 40)
		copy(h, []byte{0x60, 0, 0, 0, byte((p.n - 40) >> 8), byte(p.n - 40), 59, 64, 0x20, 1, 0x0d, 0xb8})
		h[39] = 1
		copy(b, h)
	}
	const tcp = 6 // IPPROTO_TCP
	segment := []byte{0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 5 << 4, 0x99, 1, 0, 0, 0, 0, 0}
	switch p.load.gsoType &^ gsoECN {
	case gsoTCPv4:
		b[9] = tcp
		copy(b[20:], segment)
	case gsoTCPv6:
		b[6] = tcp
		copy(b[40:], segment)
	}
	return b
}

// untagged is the packet without its VLAN tag.
func (p packet) untagged() packet {
	if p.tag != 0 && p.load.hdrLen > 0 {
		p.load.hdrLen -= 4
	}
	p.tag = 0
	return p
}

// linear is how much of the packet the kernel keeps in one piece.
func (p packet) linear(dev string) int {
	n := len(p.bytes(dev))
	const page = 4096 - 64 // and headroom
	if n < page || p.load.gsoType == 0 {
		return n
	}
	return int(p.load.hdrLen)
}

const (
	needsCsum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM

	gsoTCPv4 = 1    // VIRTIO_NET_HDR_GSO_TCPV4
	gsoUDP   = 3    // VIRTIO_NET_HDR_GSO_UDP
	gsoTCPv6 = 4    // VIRTIO_NET_HDR_GSO_TCPV6
	gsoUDPL4 = 5    // VIRTIO_NET_HDR_GSO_UDP_L4
	gsoECN   = 0x80 // VIRTIO_NET_HDR_GSO_ECN
)

// vnetHdr is the packet's struct virtio_net_hdr on the device's wire.
func (p packet) vnetHdr(dev string) (h kring.VnetHdr) {
	h[0], h[1] = p.load.flags, p.load.gsoType
	start, offset := 20, 6 // UDP behind IPv4
	if t := p.load.gsoType &^ gsoECN; t == gsoTCPv4 || t == gsoTCPv6 {
		offset = 16
	}
	if p.proto == tpacket.ETHPIPv6 {
		start = 40
	}
	if dev == tap0 {
		start += 14
		if p.tag != 0 {
			start += 4
		}
	}
	fields := []uint16{p.load.hdrLen, p.load.gsoSize, 0, 0}
	if p.load.flags&needsCsum != 0 {
		fields[2], fields[3] = uint16(start), uint16(offset)
	}
	for i, v := range fields {
		binary.NativeEndian.PutUint16(h[2+2*i:], v)
	}
	return h
}

// protocol is skb->protocol of the packet when a program sends it, in host byte
// order: what eth_type_trans would say.
func (p packet) protocol() uint16 {
	switch {
	case p.tag != 0:
		return uint16(p.tag >> 16)
	case p.proto >= tpacket.ETHP8023Mn:
		return p.proto
	}
	return tpacket.ETHP8022
}

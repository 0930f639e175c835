// Package gso divides large segments into packets, as Linux does for a device that cannot
// take them whole (skb_gso_segment, net/core/gso.c).
package gso

import (
	"encoding/binary"
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/rxring/rxring/internal/dissect"
)

// Kind is the kind of a large segment (VIRTIO_NET_HDR_GSO_*), without the ECN bit.
type Kind uint8

const (
	TCPv4 Kind = 1
	UDP   Kind = 3 // a UDP datagram that becomes IP fragments
	TCPv6 Kind = 4
	UDPL4 Kind = 5
)

// Split says how a large segment is divided. The zero value divides nothing.
type Split struct {
	kind      Kind
	ip4       bool
	network   int // offset of the IP header
	transport int // offset of the TCP or UDP header
	payload   int // offset of the bytes that are divided
	size      int // how many of them each packet has, except the last
}

// NewSplit returns the split of a frame whose IP header is at offset network, and whose
// transport header ends at offset end. It reports false if there is anything but options
// between the two headers.
func NewSplit(frame []byte, kind Kind, network, end, size int, f *dissect.Flow) (c Split, ok bool) {
	c = Split{kind: kind, ip4: f.AddrLen == 4, network: network, transport: f.Pos, payload: end, size: size}
	if kind == UDP {
		c.payload = c.transport // the first fragment has the UDP header
	}
	if c.ip4 {
		return c, network+int(frame[network]&15)*4 == f.Pos
	}
	const hopByHop, routing, destination = 0, 43, 60 // extension headers
	pos, next := network+40, frame[network+6]
	for (next == hopByHop || next == routing || next == destination) && pos+8 <= f.Pos {
		next, pos = frame[pos], pos+8+8*int(frame[pos+1])
	}
	return c, pos == f.Pos && next == f.Transport
}

// Divides reports whether the split divides anything.
func (c *Split) Divides() bool { return c.size > 0 }

// Fragments reports whether the packets are IP fragments of one UDP datagram.
func (c *Split) Fragments() bool { return c.kind == UDP }

// Packets iterates over the packets that frame is divided into. Each is valid until the next.
func (c *Split) Packets(frame []byte) iter.Seq[[]byte] {
	return func(yield func(piece []byte) bool) { c.divide(frame, yield) }
}

func (c *Split) divide(frame []byte, yield func(piece []byte) bool) {
	extra, ident := 0, uint32(0)
	if c.kind == UDP && !c.ip4 {
		extra, ident = sizeofFragHeader, rand.Uint32()
	}
	buf := make([]byte, 0, c.payload+extra+c.size)
	for n, at := 0, c.payload; at < len(frame); n, at = n+1, at+c.size {
		end := min(at+c.size, len(frame))
		b := append(buf[:0], frame[:c.payload]...)
		b = append(b, make([]byte, extra)...)
		b = append(b, frame[at:end]...)
		last := end == len(frame)
		switch c.kind {
		case TCPv4, TCPv6:
			c.tcp(b, len(frame), n, last)
		case UDPL4:
			c.udp(b)
		}
		switch {
		case c.ip4:
			c.header4(b, n, at-c.payload, last)
		case extra > 0:
			c.fragment6(b, ident, at-c.payload, last)
			fallthrough
		default:
			binary.BigEndian.PutUint16(b[c.network+4:], uint16(len(b)-c.network-40))
		}
		if !yield(b) {
			return
		}
	}
}

// header4 sets the IPv4 header of packet n, whose bytes were at this offset of the payload
// (inet_gso_segment, net/ipv4/af_inet.c).
func (c *Split) header4(b []byte, n, offset int, last bool) {
	h := b[c.network:c.transport]
	binary.BigEndian.PutUint16(h[2:], uint16(len(b)-c.network))
	if c.kind == UDP {
		const moreFragments = 0x2000 // IP_MF
		frag := uint16(offset >> 3)
		if !last {
			frag |= moreFragments
		}
		binary.BigEndian.PutUint16(h[6:], frag)
	} else {
		binary.BigEndian.PutUint16(h[4:], binary.BigEndian.Uint16(h[4:])+uint16(n))
	}
	h[10], h[11] = 0, 0
	binary.BigEndian.PutUint16(h[10:], ^fold(checksum(h)))
}

// sizeofFragHeader is sizeof(struct frag_hdr) (net/ipv6.h).
const sizeofFragHeader = 8

// fragment6 writes the fragment header before the divided bytes
// (udp6_ufo_fragment, net/ipv6/udp_offload.c).
func (c *Split) fragment6(b []byte, ident uint32, offset int, last bool) {
	const moreFragments, fragment = 1, 44 // IP6_MF, NEXTHDR_FRAGMENT
	next := c.network + 6
	for pos := c.network + 40; pos < c.transport; pos += 8 + 8*int(b[pos+1]) {
		next = pos
	}
	h := b[c.transport:][:sizeofFragHeader]
	h[0], h[1], b[next] = b[next], 0, fragment
	frag := uint16(offset)
	if !last {
		frag |= moreFragments
	}
	binary.BigEndian.PutUint16(h[2:], frag)
	binary.BigEndian.PutUint32(h[4:], ident)
}

// tcp sets the header of packet n (tcp_gso_segment, net/ipv4/tcp_offload.c).
// The checksum field holds a partial sum that includes the length of the whole segment.
func (c *Split) tcp(b []byte, whole, n int, last bool) {
	const (
		fin, psh, cwr = 0x01, 0x08, 0x80
		seqAt, sumAt  = 4, 16
	)
	h := b[c.transport:]
	binary.BigEndian.PutUint32(h[seqAt:], binary.BigEndian.Uint32(h[seqAt:])+uint32(n*c.size))
	if !last {
		h[13] &^= fin | psh
	}
	if n > 0 {
		h[13] &^= cwr
	}
	c.adjust(h[sumAt:], ^uint32(whole-c.transport)+uint32(len(h)))
}

// udp sets the header of one datagram (__udp_gso_segment, net/ipv4/udp_offload.c).
func (c *Split) udp(b []byte) {
	const lenAt, sumAt = 4, 6
	h := b[c.transport:]
	was := binary.BigEndian.Uint16(h[lenAt:])
	binary.BigEndian.PutUint16(h[lenAt:], uint16(len(h)))
	c.adjust(h[sumAt:], uint32(^was)+uint32(uint16(len(h))))
}

// adjust adds delta to the partial sum in a checksum field.
func (c *Split) adjust(sum []byte, delta uint32) {
	s := uint64(binary.BigEndian.Uint16(sum)) + uint64(delta>>16) + uint64(delta&0xffff)
	binary.BigEndian.PutUint16(sum, fold(s))
}

// FillChecksum computes the checksum of a UDP datagram before it is divided into
// fragments, which have none of their own (udp4_ufo_fragment).
func (c *Split) FillChecksum(frame []byte, f *dissect.Flow) {
	h := frame[c.transport:]
	h[6], h[7] = 0, 0
	sum := ^fold(uint64(PseudoHeader(f, len(h))) + checksum(h))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(h[6:], sum)
}

// CompleteChecksum sums b from start on, into the field at start+offset, which holds the sum
// of the pseudo-header (skb_checksum_help, net/core/dev.c). A field outside b is left alone.
func CompleteChecksum(b []byte, start, offset int) {
	if start < 0 || start+offset+2 > len(b) {
		return
	}
	sum := ^fold(checksum(b[start:]))
	if sum == 0 {
		sum = 0xffff // 0 means that a UDP packet has none
	}
	binary.BigEndian.PutUint16(b[start+offset:], sum)
}

// checksum returns the sum of b's 16-bit words, not folded.
func checksum(b []byte) (sum uint64) {
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		sum += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) > 0 {
		sum += uint64(b[0]) << 8
	}
	return sum
}

func fold(sum uint64) uint16 {
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// PseudoHeader returns the sum of the addresses, protocol and length of n bytes of TCP,
// not inverted: the checksum field holds it until the checksum is computed.
func PseudoHeader(f *dissect.Flow, n int) uint16 {
	sum := uint32(f.Transport) + uint32(n&0xffff) + uint32(n>>16)
	for _, addr := range [][16]byte{f.Src, f.Dst} {
		for pair := range slices.Chunk(addr[:f.AddrLen], 2) {
			sum += uint32(binary.BigEndian.Uint16(pair))
		}
	}
	return fold(uint64(sum))
}

package rxring

import (
	"encoding/binary"
	"iter"
	"math/rand/v2"

	"github.com/rxring/rxring/internal/dissect"
)

// cut says how a large segment is divided into packets before it leaves, as Linux
// divides what the device cannot take whole (skb_gso_segment, net/core/gso.c): what
// is longer than 64 KiB, and UDP datagrams that become IP fragments. The zero value
// divides nothing.
type cut struct {
	kind      GSOType // without GSOECN
	ip4       bool
	protocol  uint16 // EtherType, host byte order
	network   int    // where the IP header is
	transport int    // where the TCP or UDP header is
	payload   int    // where the bytes are that are divided
	size      int    // how many of them each packet has, but for the last
}

// newCut is ok when the transport header is behind the IP header that is at, with
// nothing in between but options. end is where the transport header ends.
func newCut(frame []byte, kind GSOType, at, end, size int, f *dissect.Flow) (c cut, ok bool) {
	c = cut{kind: kind, ip4: f.AddrLen == 4, network: at, transport: f.Pos, payload: end, size: size}
	if kind == GSOUDP {
		c.payload = c.transport // the first fragment has the header
	}
	if c.ip4 {
		return c, at+int(frame[at]&15)*4 == f.Pos
	}
	const hopByHop, routing, destination = 0, 43, 60 // extension headers
	pos, next := at+40, frame[at+6]
	for (next == hopByHop || next == routing || next == destination) && pos+8 <= f.Pos {
		next, pos = frame[pos], pos+8+8*int(frame[pos+1])
	}
	return c, pos == f.Pos && next == f.Transport
}

// pieces are the packets that frame is divided into, each valid until the next.
func (c *cut) pieces(frame []byte) iter.Seq[[]byte] {
	return func(yield func(piece []byte) bool) { c.divide(frame, yield) }
}

func (c *cut) divide(frame []byte, yield func(piece []byte) bool) {
	extra, ident := 0, uint32(0)
	if c.kind == GSOUDP && !c.ip4 {
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
		case GSOTCPv4, GSOTCPv6:
			c.tcp(b, len(frame), n, last)
		case GSOUDPL4:
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

// header4 makes the IPv4 header that of packet n, whose bytes were at offset of the payload
// (inet_gso_segment, net/ipv4/af_inet.c).
func (c *cut) header4(b []byte, n, offset int, last bool) {
	h := b[c.network:c.transport]
	binary.BigEndian.PutUint16(h[2:], uint16(len(b)-c.network))
	if c.kind == GSOUDP {
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

// fragment6 fills in the fragment header in front of what is divided
// (udp6_ufo_fragment, net/ipv6/udp_offload.c).
func (c *cut) fragment6(b []byte, ident uint32, offset int, last bool) {
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

// tcp makes the header that of packet n (tcp_gso_segment, net/ipv4/tcp_offload.c).
// In the checksum's place is a sum that the length is part of, here of the whole.
func (c *cut) tcp(b []byte, whole, n int, last bool) {
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

// udp makes the header that of a datagram (__udp_gso_segment, net/ipv4/udp_offload.c).
func (c *cut) udp(b []byte) {
	const lenAt, sumAt = 4, 6
	h := b[c.transport:]
	was := binary.BigEndian.Uint16(h[lenAt:])
	binary.BigEndian.PutUint16(h[lenAt:], uint16(len(h)))
	c.adjust(h[sumAt:], uint32(^was)+uint32(uint16(len(h))))
}

// adjust adds to a sum that stands in a checksum's place.
func (c *cut) adjust(sum []byte, delta uint32) {
	s := uint64(binary.BigEndian.Uint16(sum)) + uint64(delta>>16) + uint64(delta&0xffff)
	binary.BigEndian.PutUint16(sum, fold(s))
}

// complete fills in the checksum of a UDP datagram, which fragments do not have one
// by one (udp4_ufo_fragment).
func (c *cut) complete(frame []byte, f *dissect.Flow) {
	h := frame[c.transport:]
	h[6], h[7] = 0, 0
	sum := ^fold(uint64(pseudoHeader(f, len(h))) + checksum(h))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(h[6:], sum)
}

// checksum is the sum of 16-bit words, not folded.
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

package netstack

import (
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/rxring/rxring"
)

// deliver delivers packets of the stack to the tap. A segment that is left to the card to
// divide (GSO) is delivered as one packet, longer than the MTU, whose checksum is incomplete,
// as a packet socket receives it in Linux.
//
// It is not inlined: WritePackets would prepare its frame whether sockets are attached or not.
//
//go:noinline
func (e *Endpoint) deliver(pkts []*stack.PacketBuffer, outgoing bool) {
	if len(pkts) == 1 { // most calls of a stack have one packet
		e.deliverOne(pkts[0], outgoing)
		return
	}
	b := e.tap.Batch()
	if b == nil {
		return
	}
	var buf [usualPieces][]byte
	for _, pkt := range pkts {
		describe(b.Next(), pkt, outgoing)
		for _, piece := range appendPieces(buf[:0], pkt) {
			b.AddPiece(piece)
		}
	}
	b.Deliver()
}

// deliverOne is deliver for one packet. All that it needs is on the goroutine's stack.
//
//go:noinline
func (e *Endpoint) deliverOne(pkt *stack.PacketBuffer, outgoing bool) {
	var (
		p   rxring.Packet
		buf [usualPieces][]byte
	)
	if pieces := appendPieces(buf[:0], pkt); len(pieces) > 0 {
		p.Data, p.Rest = pieces[0], pieces[1:]
	}
	describe(&p, pkt, outgoing)
	e.tap.Deliver(&p)
}

// usualPieces is room for the pieces of a packet: gVisor's link/fdbased reads packets into
// buffers of ten sizes.
const usualPieces = 10

// appendPieces appends the bytes of pkt to pieces: the link-layer header, if the link has one,
// and all that follows. The headers are in one piece: they are pushed into one view, in front
// of the payload's.
func appendPieces(pieces [][]byte, pkt *stack.PacketBuffer) [][]byte {
	views, skip := pkt.AsViewList()
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		pieces = append(pieces, b[skip:])
		skip = 0
	}
	return pieces
}

// describe sets what p has beside its bytes.
func describe(p *rxring.Packet, pkt *stack.PacketBuffer, outgoing bool) {
	p.Outgoing, p.Hash = outgoing, pkt.Hash
	if pkt.GSOOptions.NeedsCsum {
		setOffload(p, pkt)
	}
}

// setOffload sets p's checksum state and GSO. Like Linux, gVisor leaves the checksum of every
// packet of a socket that uses GSO to the card.
func setOffload(p *rxring.Packet, pkt *stack.PacketBuffer) {
	gso := &pkt.GSOOptions
	p.Checksum = rxring.ChecksumPartial
	p.ChecksumStart = uint16(len(pkt.LinkHeader().Slice())) + gso.L3HdrLen
	p.ChecksumOffset = gso.CsumOffset
	if Segmented(pkt) {
		p.GSO = rxring.GSO{
			Type:   rxring.GSOTCPv4,
			Size:   gso.MSS,
			HdrLen: uint16(headerSize(pkt)),
		}
		if gso.Type == stack.GSOTCPv6 {
			p.GSO.Type = rxring.GSOTCPv6
		}
	}
}

// Segmented reports whether a packet is a large segment, which stands for several packets on
// the wire.
func Segmented(pkt *stack.PacketBuffer) bool {
	gso := &pkt.GSOOptions
	return (gso.Type == stack.GSOTCPv4 || gso.Type == stack.GSOTCPv6) && pkt.Size()-headerSize(pkt) > int(gso.MSS)
}

// headerSize returns the length of the headers of a TCP segment. Those of one that arrives, as
// on a link between two stacks, have not been parsed.
func headerSize(pkt *stack.PacketBuffer) int {
	size := pkt.HeaderSize()
	if len(pkt.NetworkHeader().Slice()) > 0 {
		return size
	}
	l3 := int(pkt.GSOOptions.L3HdrLen)
	if b, ok := pkt.Data().PullUp(l3 + header.TCPMinimumSize); ok {
		size += l3 + int(header.TCP(b[l3:]).DataOffset())
	}
	return size
}

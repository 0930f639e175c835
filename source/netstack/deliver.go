package netstack

import (
	"iter"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/rxring/rxring"
)

// Deliverer is implemented by [rxring.Device].
type Deliverer interface {
	Deliver(*rxring.Packet)
}

// Deliver delivers a packet of a gVisor stack to dev: the link-layer header, if the link has
// one, and all that follows. outgoing reports that the stack sends the packet. An outgoing
// segment that is left to the card to divide (GSO) is delivered as one packet, longer than the
// MTU, whose checksum is incomplete, as a packet socket receives it in Linux.
//
// Deliver does not change pkt, and keeps no reference to it. It may be called concurrently.
func Deliver(dev Deliverer, pkt *stack.PacketBuffer, outgoing bool) {
	s := scratches.Get().(*scratch)
	p := &s.packet
	p.Rest = s.rest[:0]
	describe(p, pkt, outgoing)
	for b := range pieces(pkt) {
		if p.Data == nil {
			p.Data = b
		} else {
			p.Rest = append(p.Rest, b)
		}
	}
	dev.Deliver(p)
	*s = scratch{} // keeps no packet's memory alive
	scratches.Put(s)
}

// scratch is the memory of one call of Deliver.
type scratch struct {
	packet rxring.Packet
	rest   [4][]byte // a segment's payload is one view, rarely two
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// add adds a packet of a gVisor stack to b, as Deliver delivers it.
func add(b *rxring.Batch, pkt *stack.PacketBuffer, outgoing bool) {
	describe(b.Next(), pkt, outgoing)
	for piece := range pieces(pkt) {
		b.AddPiece(piece)
	}
}

// pieces iterates over the bytes of pkt. The headers are in one piece: they are pushed into
// one view, in front of the payload's.
func pieces(pkt *stack.PacketBuffer) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		views, skip := pkt.AsViewList()
		for v := views.Front(); v != nil; v = v.Next() {
			b := v.AsSlice()
			if skip >= len(b) {
				skip -= len(b)
				continue
			}
			if !yield(b[skip:]) {
				return
			}
			skip = 0
		}
	}
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
			HdrLen: uint16(pkt.HeaderSize()),
		}
		if gso.Type == stack.GSOTCPv6 {
			p.GSO.Type = rxring.GSOTCPv6
		}
	}
}

// Segmented reports whether an outgoing packet is a large segment, which stands for several
// packets on the wire.
func Segmented(pkt *stack.PacketBuffer) bool {
	gso := &pkt.GSOOptions
	return (gso.Type == stack.GSOTCPv4 || gso.Type == stack.GSOTCPv6) && pkt.Data().Size() > int(gso.MSS)
}

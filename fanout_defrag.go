package rxring

import (
	"encoding/binary"

	"github.com/rxring/rxring/internal/defrag"
	"github.com/rxring/rxring/tpacket"
)

// heldBack is what a fragment was beside its bytes.
type heldBack struct {
	packet  Packet // without its bytes
	arrival arrival
}

// fragment says whether the packet is an IPv4 fragment that a group is to put
// together with others, and copies it if so (ip_check_defrag,
// net/ipv4/ip_fragment.c). What is cut off or makes no sense is not.
func fragment(p *Packet, a *arrival) (f defrag.Frame[heldBack], ok bool) {
	if a.protocol != tpacket.ETHPIP || a.seen < a.maclen+ipv4Header {
		return f, false
	}
	var h [ipv4Header]byte
	gather(h[:], p, a.maclen)
	if !defrag.IsFragment(h[:]) {
		return f, false
	}
	n := uint32(binary.BigEndian.Uint16(h[2:])) // of the IPv4 packet: the frame may be padded
	if a.seen < a.maclen+n || n < uint32(h[0]&15)*4 {
		return f, false
	}
	f = defrag.Frame[heldBack]{
		Data:    make([]byte, a.maclen+n),
		NetOff:  int(a.maclen),
		Partial: p.Checksum == ChecksumPartial,
		Context: heldBack{ // not *p: nothing of the caller's is kept
			packet:  Packet{Outgoing: p.Outgoing, VLAN: p.VLAN, Mark: p.Mark, Queue: p.Queue},
			arrival: *a,
		},
	}
	if p.Link != nil {
		link := *p.Link
		f.Context.packet.Link = &link
	}
	gather(f.Data, p, 0)
	return f, true
}

const ipv4Header = 20 // without options

// deliverFragment delivers the packet that f, which is p, makes whole, if it does.
// To members it is the first fragment, grown, at the time of the one that came
// last.
func (g *group) deliverFragment(f defrag.Frame[heldBack], p *Packet, a *arrival) {
	whole, ok := g.defrag.Add(f)
	if !ok {
		return
	}
	first := &whole.Context
	first.packet.Data = whole.Data
	first.packet.CPU = p.CPU
	first.packet.Timestamp = p.Timestamp
	first.arrival.length = uint32(len(whole.Data))
	first.arrival.seen = first.arrival.length
	first.arrival.timestamp = a.timestamp
	const stamped = tpacket.StatusTSSoftware
	first.arrival.status = first.arrival.status&^stamped | a.status&stamped
	first.arrival.status &^= tpacket.StatusCsumNotReady | tpacket.StatusCsumValid
	if whole.Partial {
		first.packet.Checksum = ChecksumPartial
		first.arrival.status |= tpacket.StatusCsumNotReady
	}
	g.give(&first.packet, &first.arrival)
}

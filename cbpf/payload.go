package cbpf

// EtherTypes (linux/if_ether.h), IP protocols (linux/in.h, net/ipv6.h) and PPP
// protocols (linux/ppp_defs.h) on the way to a payload.
const (
	ethIP      = 0x0800
	ethTEB     = 0x6558 // an Ethernet frame, within GRE
	ethARP     = 0x0806
	ethRARP    = 0x8035
	eth8021Q   = 0x8100
	ethIPv6    = 0x86dd
	ethMPLS    = 0x8847
	ethMPLSMC  = 0x8848
	ethPPPoE   = 0x8864
	eth8021AD  = 0x88a8
	ethPPPGRE  = 0x880b // PPP within GRE version 1
	pppIP      = 0x0021
	pppIPv6    = 0x0057
	pppMPLS    = 0x0281
	pppMPLSMC  = 0x0283
	ipHopOpts  = 0
	ipICMP     = 1
	ipIGMP     = 2
	ipIPIP     = 4
	ipTCP      = 6
	ipUDP      = 17
	ipDCCP     = 33
	ipIPv6     = 41
	ipRouting  = 43
	ipFragment = 44
	ipGRE      = 47
	ipICMPv6   = 58
	ipDestOpts = 60
	ipSCTP     = 132
	ipUDPLite  = 136
	ipMPLS     = 137
)

// transportHeader is how long the header of a protocol is, where that is fixed.
var transportHeader = [256]uint8{
	ipUDP: 8, ipUDPLite: 8, ipICMP: 8, ipICMPv6: 8, ipIGMP: 8, ipDCCP: 12, ipSCTP: 12,
}

// payloadOffset returns what SKF_AD_PAY_OFFSET does: how far from the program's
// offset 0 the transport payload begins, as far as the headers can be followed.
// 0: they make no sense, or are cut off.
//
// Followed are VLAN tags, PPPoE, IPv4, IPv6 with its extension headers, GRE,
// IP in IP, and TCP or a fixed header at the end; ARP ends it at its header, MPLS
// behind its first label. Linux's flow dissector knows some more EtherTypes (TIPC, FCoE, HSR,
// PTP, B.A.T.M.A.N.), which are 0 here.
func (p *Packet) payloadOffset() uint32 {
	d := dissector{p: p, pos: int64(p.NetOff) - int64(p.Start), ether: p.Protocol}
	// A tag beside the frame counts as a header of its own, without bytes.
	if p.VLANPresent {
		d.headers++
	}
	if !d.network() {
		return 0
	}
	off := uint32(uint16(d.pos)) // 16 bits in struct flow_dissector_key_control
	if d.laterFragment {
		return off
	}
	if d.transport != ipTCP {
		return off + uint32(transportHeader[d.transport])
	}
	words, ok := p.at(uint64(p.Start)+uint64(off)+12, 1)
	if !ok {
		return off
	}
	return off + max(20, words>>4*4)
}

// dissector walks through headers.
type dissector struct {
	p             *Packet
	pos           int64  // of the current header, from the program's offset 0
	ether         uint16 // what it is
	transport     uint8  // IP protocol; 0 without IP
	laterFragment bool   // no transport header here
	headers       int    // walked through
}

// maxHeaders ends a walk through a packet that nests too deeply
// (MAX_FLOW_DISSECT_HDRS).
const maxHeaders = 15

func (d *dissector) get(off int64, size uint8) (uint32, bool) {
	at := d.pos + off + int64(d.p.Start)
	if at < 0 {
		return 0, false
	}
	return d.p.at(uint64(at), size)
}

// has reports whether a header of size bytes is whole.
func (d *dissector) has(size int64) bool {
	_, ok := d.get(size-1, 1)
	return ok
}

// again reports whether one more header may be walked through.
func (d *dissector) again() bool {
	d.headers++
	return d.headers <= maxHeaders
}

// network walks from an EtherType's header on. Not ok: Linux gives up and has no
// offset.
func (d *dissector) network() (ok bool) {
	for {
		switch d.ether {
		case ethIP:
			if !d.has(20) {
				return false
			}
			first, _ := d.get(0, 1)
			flags, _ := d.get(6, 2)
			proto, _ := d.get(9, 1)
			if first&15 < 5 {
				return false
			}
			d.pos += int64(first&15) * 4
			d.transport = uint8(proto)
			if flags&0x3fff != 0 { // more fragments, or an offset
				d.laterFragment = flags&0x1fff != 0
				return true
			}
		case ethIPv6:
			if !d.has(40) {
				return false
			}
			next, _ := d.get(6, 1)
			d.pos += 40
			d.transport = uint8(next)
		case eth8021Q, eth8021AD:
			next, ok := d.get(2, 2)
			if !ok {
				return false
			}
			d.pos += 4
			d.ether = uint16(next)
			if !d.again() {
				return true
			}
			continue
		case ethPPPoE:
			more, ok := d.pppoe()
			if !ok || !more {
				return ok
			}
			if !d.again() {
				return true
			}
			continue
		case ethTEB:
			next, ok := d.get(12, 2)
			if !ok {
				return false
			}
			d.pos += 14
			d.ether = uint16(next)
			if !d.again() {
				return true
			}
			continue
		case ethMPLS, ethMPLSMC:
			d.pos += 4 // one label
			return true
		case ethARP, ethRARP:
			return true
		default:
			return false
		}
		more, ok := d.ip()
		if !ok || !more {
			return ok
		}
	}
}

// pppoe steps over the header of a PPPoE session and the PPP protocol number. Not
// more: it is one that Linux does not look into.
func (d *dissector) pppoe() (more, ok bool) {
	const sessionData = 0x1100 // version 1, type 1, code 0
	kind, _ := d.get(0, 2)
	proto, ok := d.get(6, 2)
	if !ok || kind != sessionData {
		return false, false
	}
	d.pos += 8
	switch proto {
	case pppIP:
		d.ether = ethIP
	case pppIPv6:
		d.ether = ethIPv6
	case pppMPLS:
		d.ether = ethMPLS
	case pppMPLSMC:
		d.ether = ethMPLSMC
	default:
		return false, proto&0x0101 == 0x0001 // well-formed (RFC 1661 section 2)
	}
	return true, true
}

// ip walks from an IP protocol's header on. More: d.ether's header is next.
func (d *dissector) ip() (more, ok bool) {
	for {
		switch d.transport {
		case ipHopOpts, ipRouting, ipDestOpts:
			if d.ether != ethIPv6 {
				return false, true
			}
			next, ok := d.get(0, 2) // next header, and 8-byte units after the first
			if !ok {
				return false, false
			}
			d.transport = uint8(next >> 8)
			d.pos += (int64(next&0xff) + 1) * 8
			if !d.again() {
				return false, true
			}
		case ipFragment:
			if d.ether != ethIPv6 {
				return false, true
			}
			if !d.has(8) {
				return false, false
			}
			next, _ := d.get(0, 1)
			frag, _ := d.get(2, 2)
			d.pos += 8
			d.transport = uint8(next)
			d.laterFragment = frag&0xfff8 != 0
			return false, true
		case ipGRE:
			more, ok := d.gre()
			if !ok || !more {
				return false, ok
			}
			return d.again(), true
		case ipIPIP:
			d.ether = ethIP
			return d.again(), true
		case ipIPv6:
			d.ether = ethIPv6
			return d.again(), true
		case ipMPLS:
			d.ether = ethMPLS
			return d.again(), true
		default:
			return false, true
		}
	}
}

// gre steps over a GRE header (linux/if_tunnel.h), if what is inside can be
// told.
func (d *dissector) gre() (more, ok bool) {
	const (
		csum, routing, key, seq = 0x8000, 0x4000, 0x2000, 0x1000
		ack, version            = 0x0080, 0x0007
	)
	head, ok := d.get(0, 4)
	if !ok {
		return false, false
	}
	flags, proto := head>>16, uint16(head)
	pptp := flags&version == 1
	if flags&routing != 0 || flags&version > 1 || pptp && (proto != ethPPPGRE || flags&key == 0) {
		return false, true
	}
	size := int64(4)
	if flags&csum != 0 {
		size += 4
	}
	if flags&key != 0 {
		size += 4
		if !d.has(size) {
			return false, false
		}
	}
	if flags&seq != 0 {
		size += 4
	}
	if pptp {
		if flags&ack != 0 {
			size += 4
		}
		ppp, ok := d.get(size, 4) // address, control, protocol
		if !ok {
			return false, false
		}
		switch ppp & 0xffff {
		case pppIP:
			proto = ethIP
		case pppIPv6:
			proto = ethIPv6
		}
		size += 4
	}
	d.ether = proto
	d.pos += size
	return true, true
}

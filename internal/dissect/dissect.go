package dissect

import "encoding/binary"

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
	ipIPIP     = 4
	ipTCP      = 6
	ipUDP      = 17
	ipDCCP     = 33
	ipIPv6     = 41
	ipRouting  = 43
	ipFragment = 44
	ipGRE      = 47
	ipESP      = 50
	ipAH       = 51
	ipDestOpts = 60
	ipSCTP     = 132
	ipUDPLite  = 136
	ipMPLS     = 137
)

// maxHeaders ends a walk through a packet that nests too deeply
// (MAX_FLOW_DISSECT_HDRS).
const maxHeaders = 15

// Flow is what a walk found: as far as it came, when it was not Whole. It mirrors
// what struct flow_keys (net/flow_dissector.h) holds of a packet.
type Flow struct {
	// Whole says that all headers made sense and none was cut off.
	Whole bool

	Ether     uint16 // EtherType of the last header reached (n_proto)
	Transport uint8  // IP protocol; 0 without IP
	AddrLen   uint8  // bytes of Src and Dst that count: 4, 16, or 0 without IP
	Src, Dst  [16]byte
	Ports     uint32 // the first four bytes of the transport header; 0: none, or a fragment

	Fragment bool // of an IP packet, the first one included
	Later    bool // a fragment after the first: no transport header here

	Pos int // where the walk ended, from the start of the frame: at the transport header
}

// Packet is what a walk reads.
type Packet struct {
	Data     []byte   // the frame's first piece, from its link-layer header on
	Rest     [][]byte // further pieces of it
	NetOff   int      // where the network header lies
	Protocol uint16   // what it is: its EtherType, host byte order
	Tagged   bool     // a VLAN tag is kept beside the frame
}

// walker walks through headers.
type walker struct {
	*Packet
	*Flow
	headers int      // walked through
	scratch [40]byte // a header that lies across pieces
}

// Walk dissects p into f, which must be zero.
func Walk(p *Packet, f *Flow) {
	w := walker{Packet: p, Flow: f}
	f.Ether, f.Pos = p.Protocol, p.NetOff
	if p.Tagged { // counts as a header of its own, without bytes
		w.headers++
	}
	f.Whole = w.network()
}

// get returns n bytes, off bytes into the current header; nil when they are not
// all there.
func (w *walker) get(off, n int) []byte {
	at := w.Pos + off
	if end := at + n; at >= 0 && end <= len(w.Data) {
		return w.Data[at:end:end]
	}
	return w.gather(at, n)
}

func (w *walker) gather(at, n int) []byte {
	if at < 0 {
		return nil
	}
	got := 0
	piece, rest := w.Data, w.Packet.Rest
	for {
		if at < len(piece) {
			if got += copy(w.scratch[got:n], piece[at:]); got == n {
				return w.scratch[:n]
			}
			at = 0
		} else {
			at -= len(piece)
		}
		if len(rest) == 0 {
			return nil
		}
		piece, rest = rest[0], rest[1:]
	}
}

// again reports whether one more header may be walked through.
func (w *walker) again() bool {
	w.headers++
	return w.headers <= maxHeaders
}

// network walks from an EtherType's header on. Not ok: Linux gives up.
func (w *walker) network() (ok bool) {
	for {
		switch w.Ether {
		case ethIP:
			h := w.get(0, 20)
			if h == nil || h[0]&15 < 5 {
				return false
			}
			w.Pos += int(h[0]&15) * 4
			w.Transport = h[9]
			w.AddrLen = 4
			copy(w.Src[:], h[12:16])
			copy(w.Dst[:], h[16:20])
			if frag := binary.BigEndian.Uint16(h[6:]); frag&0x3fff != 0 { // more fragments, or an offset
				w.Fragment, w.Later = true, frag&0x1fff != 0
				return true
			}
		case ethIPv6:
			h := w.get(0, 40)
			if h == nil {
				return false
			}
			w.Pos += 40
			w.Transport = h[6]
			w.AddrLen = 16
			copy(w.Src[:], h[8:24])
			copy(w.Dst[:], h[24:40])
		case eth8021Q, eth8021AD:
			h := w.get(0, 4)
			if h == nil {
				return false
			}
			w.Pos += 4
			w.Ether = binary.BigEndian.Uint16(h[2:])
			if !w.again() {
				return true
			}
			continue
		case ethPPPoE:
			more, ok := w.pppoe()
			if !ok || !more {
				return ok
			}
			if !w.again() {
				return true
			}
			continue
		case ethTEB:
			h := w.get(0, 14)
			if h == nil {
				return false
			}
			w.Pos += 14
			w.Ether = binary.BigEndian.Uint16(h[12:])
			if !w.again() {
				return true
			}
			continue
		case ethMPLS, ethMPLSMC:
			w.Pos += 4 // one label
			return true
		case ethARP, ethRARP:
			return true
		default:
			return false
		}
		more, ok := w.ip()
		if !ok || !more {
			return ok
		}
	}
}

// pppoe steps over the header of a PPPoE session and the PPP protocol number. Not
// more: it is one that Linux does not dissect.
func (w *walker) pppoe() (more, ok bool) {
	const sessionData = 0x1100 // version 1, type 1, code 0
	h := w.get(0, 8)
	if h == nil || binary.BigEndian.Uint16(h) != sessionData {
		return false, false
	}
	w.Pos += 8
	switch proto := binary.BigEndian.Uint16(h[6:]); proto {
	case pppIP:
		w.Ether = ethIP
	case pppIPv6:
		w.Ether = ethIPv6
	case pppMPLS:
		w.Ether = ethMPLS
	case pppMPLSMC:
		w.Ether = ethMPLSMC
	default:
		return false, proto&0x0101 == 0x0001 // well-formed (RFC 1661 section 2)
	}
	return true, true
}

// ip walks from an IP protocol's header on. More: w.Ether's header is next.
func (w *walker) ip() (more, ok bool) {
	for {
		switch w.Transport {
		case ipTCP, ipUDP, ipDCCP, ipSCTP, ipUDPLite, ipESP:
			w.ports(0)
			return false, true
		case ipAH:
			w.ports(4)
			return false, true
		case ipHopOpts, ipRouting, ipDestOpts:
			if w.Ether != ethIPv6 {
				return false, true
			}
			h := w.get(0, 2) // next header, and 8-byte units after the first
			if h == nil {
				return false, false
			}
			w.Transport = h[0]
			w.Pos += (int(h[1]) + 1) * 8
			if !w.again() {
				return false, true
			}
		case ipFragment:
			if w.Ether != ethIPv6 {
				return false, true
			}
			h := w.get(0, 8)
			if h == nil {
				return false, false
			}
			w.Pos += 8
			w.Transport = h[0]
			w.Fragment, w.Later = true, binary.BigEndian.Uint16(h[2:])&0xfff8 != 0
			return false, true
		case ipGRE:
			more, ok := w.gre()
			if !ok || !more {
				return false, ok
			}
			return w.again(), true
		case ipIPIP:
			w.Ether = ethIP
			return w.again(), true
		case ipIPv6:
			w.Ether = ethIPv6
			return w.again(), true
		case ipMPLS:
			w.Ether = ethMPLS
			return w.again(), true
		default:
			return false, true
		}
	}
}

// ports takes the four bytes that distinguish flows between two hosts: two ports,
// or a security association.
func (w *walker) ports(off int) {
	if h := w.get(off, 4); h != nil {
		w.Ports = binary.BigEndian.Uint32(h)
	}
}

// gre steps over a GRE header (linux/if_tunnel.h), if what is inside can be
// told.
func (w *walker) gre() (more, ok bool) {
	const (
		csum, routing, key, seq = 0x8000, 0x4000, 0x2000, 0x1000
		ack, version            = 0x0080, 0x0007
	)
	h := w.get(0, 4)
	if h == nil {
		return false, false
	}
	flags, proto := binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
	pptp := flags&version == 1
	if flags&routing != 0 || flags&version > 1 || pptp && (proto != ethPPPGRE || flags&key == 0) {
		return false, true
	}
	size := 4
	if flags&csum != 0 {
		size += 4
	}
	if flags&key != 0 {
		size += 4
		if w.get(size-1, 1) == nil {
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
		ppp := w.get(size, 4) // address, control, protocol
		if ppp == nil {
			return false, false
		}
		switch binary.BigEndian.Uint16(ppp[2:]) {
		case pppIP:
			proto = ethIP
		case pppIPv6:
			proto = ethIPv6
		}
		size += 4
	}
	w.Ether = proto
	w.Pos += size
	return true, true
}

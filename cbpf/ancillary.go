package cbpf

import (
	"encoding/binary"
	"math/rand/v2"
)

// pktTypeMask is PKT_TYPE_MAX: three bits of struct sk_buff.
const pktTypeMask = 7

// ancillary returns what Linux stores in A for a load at AdOff+ad. A search for a netlink
// attribute inspects at most most attributes.
func (p *Packet) ancillary(ad, a, x uint32, most int) uint32 {
	switch ad {
	case AdProtocol:
		return uint32(p.Protocol)
	case AdPktType:
		return uint32(p.PacketType & pktTypeMask)
	case AdIfindex:
		return p.Ifindex
	case AdHatype:
		return uint32(p.Hatype)
	case adMark:
		return p.Mark
	case adQueue:
		return uint32(p.Queue)
	case adRxHash:
		return p.RxHash
	case adCPU:
		return p.CPU
	case adVLANTag:
		return uint32(p.VLANTCI)
	case adVLANTagPresent:
		if p.VLANPresent {
			return 1
		}
		return 0
	case adVLANTPID:
		return uint32(p.VLANTPID)
	case adRandom:
		return rand.Uint32()
	case adPayOffset:
		return p.payloadOffset()
	case adNlattr:
		return p.nlattr(a, x, most)
	case adNlattrNest:
		return p.nlattrNest(a, x, most)
	}
	return a ^ x // adAluXorX, which loads nothing
}

// A netlink attribute (struct nlattr, linux/netlink.h) is its length and type,
// both in host byte order, and its value, padded to nlaAlign.
const (
	nlaHeader   = 4
	nlaAlign    = 4
	nlaTypeMask = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
)

// nlattr returns the offset of the attribute of type x in the list that starts
// at offset a, or 0 if it is not among the first most attributes.
func (p *Packet) nlattr(a, x uint32, most int) uint32 {
	end := int64(p.Len) - int64(p.Start)
	if int64(a) > end-nlaHeader {
		return 0
	}
	return p.findAttr(int64(a), end, x, most)
}

// nlattrNest does the same for the list inside the attribute at offset a.
func (p *Packet) nlattrNest(a, x uint32, most int) uint32 {
	end := int64(p.Len) - int64(p.Start)
	if int64(a) > end-nlaHeader {
		return 0
	}
	size, _, ok := p.attr(int64(a))
	if !ok || size > end-int64(a) {
		return 0
	}
	return p.findAttr(int64(a)+nlaHeader, int64(a)+size, x, most)
}

func (p *Packet) findAttr(pos, end int64, typ uint32, most int) uint32 {
	view := p.view()
	for ; pos+nlaHeader <= end && most > 0; most-- {
		var (
			size int64
			t    uint32
			ok   = true
		)
		if pos+nlaHeader <= int64(len(view)) { // the usual case, without a search for the piece
			size, t = attrHeader(view[pos : pos+nlaHeader])
		} else {
			size, t, ok = p.attr(pos)
		}
		if !ok || size < nlaHeader || size > end-pos {
			return 0
		}
		if t == typ {
			return uint32(pos)
		}
		pos += (size + nlaAlign - 1) &^ (nlaAlign - 1)
	}
	return 0
}

// attr reads the header of the attribute at offset pos.
func (p *Packet) attr(pos int64) (size int64, typ uint32, ok bool) {
	v, ok := p.at(uint64(pos)+uint64(p.Start), nlaHeader)
	var b [nlaHeader]byte
	binary.BigEndian.PutUint32(b[:], v)
	size, typ = attrHeader(b[:])
	return size, typ, ok
}

func attrHeader(b []byte) (size int64, typ uint32) {
	return int64(binary.NativeEndian.Uint16(b)), uint32(binary.NativeEndian.Uint16(b[2:])) & nlaTypeMask
}

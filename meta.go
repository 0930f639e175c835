package rxring

import (
	"encoding/binary"
	"math"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// packetMeta is what is the same about a packet for all sockets; outgoing packets have it,
// too.
type packetMeta struct {
	length       uint32             // bytes, link-layer header included
	capLen       uint32             // bytes that are present: see Packet.Len, Grant.Snaplen
	maclen       uint32             // bytes before the network header
	status       uint32             // offload bits of tp_status
	protocol     uint16             // skb->protocol, host byte order
	extra        extra              // rare properties
	tags         tags               // in the frame
	strippedVLAN VLAN               // a tag removed by deliverTagged
	trailer      uint32             // bytes behind the packet: see stampComment
	headLen      uint32             // bytes in the first piece before deliverTagged; 0: len(Data)
	timestamp    int64              // nanoseconds since the epoch; 0: not read yet
	from         tpacket.SockaddrLL // as the ring shows it
}

// extra is a set of what is stamped beside the ordinary header fields.
type extra uint8

const (
	extraVLAN    extra = 1 << iota // there is a tag, in the frame or beside it
	extraLink                      // Packet.Link says otherwise than the device
	extraComment                   // there is a Packet.Comment
)

// kind says how a packet is delivered.
type kind uint8

const (
	ordinary  kind = iota
	tagged         // it comes in with a VLAN tag: see deliverTagged
	malformed      // it has no whole link-layer header, or one that the device's type does not know
)

// measure computes the metadata, which must be zero, and says how the packet is delivered.
func (meta *packetMeta) measure(d *Device, p *Packet) kind {
	n := len(p.Data)
	if len(p.Rest) > 0 {
		for _, b := range p.Rest {
			n += len(b)
		}
	}
	meta.length, meta.capLen = uint32(n), uint32(n)
	if p.Len > n {
		meta.length = uint32(min(p.Len, math.MaxInt32))
	}
	meta.maclen = d.maclen
	meta.from = d.from
	meta.status = tpacket.StatusUser
	if p.Timestamp != 0 {
		meta.timestamp = p.Timestamp
		meta.status |= tpacket.StatusTSSoftware
	}
	protocol := uint16(0)
	if head := p.Data; !d.ethernet() {
		if !meta.measureOther(d, p) {
			return malformed
		}
		protocol = meta.protocol
	} else if len(head) < etherLen {
		return malformed
	} else {
		meta.from.Pkttype = destination(addrWord(head), d.own, d.bcast)
		*(*[etherAddrLen]byte)(meta.from.Addr[:]) = [etherAddrLen]byte(head[etherAddrLen:])
		protocol = uint16(head[12])<<8 | uint16(head[13])
		meta.protocol = protocol
		if protocol < tpacket.ETHP8023Mn {
			protocol = lengthProtocol(head, p.Rest)
			meta.protocol = protocol
		} else if isVLAN(protocol) {
			meta.extra = extraVLAN
			meta.readTags(p)
		}
	}
	meta.from.Protocol = tpacket.Htons(protocol)
	if p.Outgoing {
		meta.from.Pkttype = tpacket.PacketOutgoing
	}
	if int(p.Checksum)|int(p.GSO.Type)|int(p.VLAN.TPID)|len(p.Comment) != 0 { // one branch for what is rare
		meta.measureRare(p)
	}
	if meta.extra&extraVLAN != 0 && !p.Outgoing {
		return tagged
	}
	return ordinary
}

// measureOther reads the link-layer header of a device that is not Ethernet.
//
//go:noinline
func (meta *packetMeta) measureOther(d *Device, p *Packet) bool {
	if d.typ != RawIP || p.Link != nil {
		return meta.measureLink(d, p)
	}
	meta.protocol = ipVersion(p.Data)
	return meta.protocol != 0
}

// measureRare sets what few packets have.
//
//go:noinline
func (meta *packetMeta) measureRare(p *Packet) {
	switch {
	case p.Checksum == ChecksumPartial:
		meta.status |= tpacket.StatusCsumNotReady
	case p.Checksum == ChecksumValid && !p.Outgoing:
		meta.status |= tpacket.StatusCsumValid
	}
	if t := p.GSO.Type &^ GSOECN; t == GSOTCPv4 || t == GSOTCPv6 {
		meta.status |= tpacket.StatusGSOTCP
	}
	if p.VLAN.TPID != 0 {
		meta.extra |= extraVLAN
	}
	if p.Comment != "" {
		meta.extra |= extraComment
		meta.trailer = tpacket.SizeofCommentLen + uint32(min(len(p.Comment), maxComment))
	}
}

// ipVersion is the protocol of a bare IP packet; 0: it is neither version.
func ipVersion(head []byte) uint16 {
	if len(head) > 0 {
		switch head[0] >> 4 {
		case 4:
			return tpacket.ETHPIP
		case 6:
			return tpacket.ETHPIPv6
		}
	}
	return 0
}

// lengthProtocol is eth_type_trans's protocol for a frame that carries a length in place of an
// EtherType (net/ethernet/eth.c).
//
//go:noinline
func lengthProtocol(head []byte, rest [][]byte) uint16 {
	// 0xffff where LLC would start marks Novell's raw 802.3.
	llc := [2]byte{}
	n := copy(llc[:], head[14:])
	for _, b := range rest {
		n += copy(llc[n:], b)
	}
	if n == 2 && llc == [2]byte{0xff, 0xff} {
		return tpacket.ETHP8023
	}
	return tpacket.ETHP8022
}

// destination is eth_type_trans's packet type for a frame that comes in.
func destination(to, own, broadcast uint64) tpacket.PacketType {
	switch {
	case to == own:
		return tpacket.PacketHost
	case to == broadcast:
		return tpacket.PacketBroadcast
	case to&1 != 0:
		return tpacket.PacketMulticast
	}
	return tpacket.PacketOtherHost
}

// addrWord is the address that at least 8 bytes begin with: compared as a number it
// costs a nanosecond less than as an array.
func addrWord(b []byte) uint64 { return binary.LittleEndian.Uint64(b) & (1<<48 - 1) }

// runFilter runs f over the packet from offset start, and returns how many bytes
// from there to keep.
func (meta *packetMeta) runFilter(f *cbpf.Filter, p *Packet, start uint32) uint32 {
	return f.Run(&cbpf.Packet{
		Data:        p.Data,
		Rest:        p.Rest,
		Len:         meta.length,
		Start:       start,
		NetOff:      meta.maclen,
		Ifindex:     uint32(meta.from.Ifindex),
		Mark:        p.Mark,
		RxHash:      p.Hash,
		CPU:         uint32(p.CPU),
		Protocol:    meta.protocol,
		Hatype:      meta.from.Hatype,
		Queue:       p.Queue,
		VLANTCI:     p.VLAN.TCI,
		VLANTPID:    p.VLAN.TPID,
		VLANPresent: p.VLAN.TPID != 0,
		PacketType:  uint8(meta.from.Pkttype),
	})
}

package rxring

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/rxring/rxring/internal/dissect"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/gso"
	"github.com/rxring/rxring/tpacket"
)

// vnetHeader is struct virtio_net_hdr (linux/virtio_net.h): flags, gso_type,
// then hdr_len, gso_size, csum_start and csum_offset of 16 bits each,
// little-endian.
type vnetHeader [10]byte

// Sizes that PACKET_VNET_HDR_SZ takes: of struct virtio_net_hdr and of struct
// virtio_net_hdr_mrg_rxbuf, which counts buffers behind it.
const (
	sizeofVnetHeader = len(vnetHeader{})
	sizeofVnetMrg    = 12
)

const (
	vnetNeedsCsum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	vnetDataValid = 2 // VIRTIO_NET_HDR_F_DATA_VALID
)

// vnetKnown reports whether a virtio_net_hdr can express the packet's offloads.
func (g GSO) vnetKnown() bool {
	switch g.Type &^ GSOECN {
	case GSONone, GSOTCPv4, GSOTCPv6, GSOUDPL4:
		return true
	}
	return false // virtio_net_hdr_from_skb: EINVAL
}

// vnet is the offload state of a packet of which at most keep bytes are there, as
// virtio_net_hdr_from_skb says it.
func (p *Packet) vnet(meta *packetMeta, keep uint32) (h vnetHeader) {
	if p.GSO.Type != GSONone {
		linear := meta.headLen
		if linear == 0 {
			linear = uint32(len(p.Data))
		}
		h[1] = byte(p.GSO.Type)
		binary.LittleEndian.PutUint16(h[2:], uint16(min(linear, keep)))
		binary.LittleEndian.PutUint16(h[4:], p.GSO.Size)
	}
	switch p.Checksum {
	case ChecksumPartial:
		h[0] = vnetNeedsCsum
		binary.LittleEndian.PutUint16(h[6:], p.ChecksumStart)
		binary.LittleEndian.PutUint16(h[8:], p.ChecksumOffset)
	case ChecksumValid:
		h[0] = vnetDataValid
	}
	return h
}

func (h *vnetHeader) needsChecksum() bool { return h[0]&vnetNeedsCsum != 0 }
func (h *vnetHeader) gso() GSOType        { return GSOType(h[1]) }
func (h *vnetHeader) segmented() bool     { return h.gso() != GSONone }
func (h *vnetHeader) word(at int) int     { return int(binary.LittleEndian.Uint16(h[at:])) }
func (h *vnetHeader) headerLen() int      { return h.word(2) }
func (h *vnetHeader) size() int           { return h.word(4) }
func (h *vnetHeader) start() int          { return h.word(6) }
func (h *vnetHeader) offset() int         { return h.word(8) }

const (
	// maxSegment bounds a large segment that a device gets whole, link-layer header
	// included (GSO_LEGACY_MAX_SIZE, linux/netdevice.h). What is longer is divided.
	maxSegment = 1<<16 - 1

	// maxSent bounds what sendto takes (packet_alloc_skb): a buffer of
	// KMALLOC_MAX_SIZE and MAX_SKB_FRAGS pieces of 32 KiB, without a struct
	// skb_shared_info and room for a link-layer header. Asked of Linux 6.18 on amd64.
	maxSent = 4<<20 + 17*32<<10 - 336

	maxUDPSegments = 128       // UDP_MAX_SEGMENTS (linux/udp.h)
	gsoByFrags     = 1<<16 - 1 // GSO_BY_FRAGS (linux/skbuff.h), a gso_size that is none
)

func badVnet(why string, args ...any) error {
	return explain.Errorf(syscall.EINVAL, "virtio_net_hdr: %s", fmt.Sprintf(why, args...))
}

// cutVnet reads the header of size bytes that b begins with.
func cutVnet(b []byte, size int) (vnetHeader, error) {
	if len(b) < size {
		return vnetHeader{}, badVnet("%d bytes: want %d and a frame", len(b), size)
	}
	return parseVnet(b, len(b)-size)
}

// parseVnet reads the header that b begins with, and says whether its lengths
// fit a frame of n bytes behind it (packet_snd_vnet_parse).
func parseVnet(b []byte, n int) (h vnetHeader, err error) {
	copy(h[:], b)
	if most := h.start() + h.offset() + 2; h.needsChecksum() && h.headerLen() < most {
		binary.LittleEndian.PutUint16(h[2:], uint16(most)) // 16 bits of it, as in Linux
	}
	if h.headerLen() > n {
		return h, badVnet("hdr_len, or csum_start and csum_offset, %d: want the frame's length at most, %d", h.headerLen(), n)
	}
	return h, nil
}

// segments is what a kind of large segment has to be.
type segments struct {
	transport uint8 // IP protocol
	header    int   // bytes of the transport header, without options
	network   int   // bytes of the IP header, without options
	checksum  int   // where in the transport header the checksum is
}

// kind is what the header calls the frame; zero for an ordinary packet.
func (h *vnetHeader) kind() (seg segments, err error) {
	switch h.gso() &^ GSOECN {
	case GSOTCPv4:
		seg = segments{6, 20, 20, 16}
	case GSOTCPv6:
		seg = segments{6, 20, 40, 16}
	case GSOUDP, GSOUDPL4:
		seg = segments{17, 8, 20, 6}
	default:
		if h.segmented() {
			return seg, badVnet("gso_type %#x: want 0 (none), 1 (TCPv4), 3 (UDP), 4 (TCPv6) or 5 (UDP_L4)", h[1])
		}
		return seg, nil
	}
	switch {
	case h.size() == 0 || h.size() == gsoByFrags:
		return seg, badVnet("gso_size %d: want 1 to %d", h.size(), gsoByFrags-1)
	case h.needsChecksum() && h.offset() != seg.checksum && h.gso()&^GSOECN != GSOUDP:
		return seg, badVnet("csum_offset %d: want %d", h.offset(), seg.checksum)
	case h.gso() == GSOUDPL4 && !h.needsChecksum():
		return seg, badVnet("UDP_L4 segments: want the checksum to be computed, too")
	case h.gso() == GSOUDPL4|GSOECN:
		return seg, badVnet("gso_type %#x: there is no ECN with UDP", h[1])
	}
	return seg, nil
}

// protocol is what a frame of unknown protocol is then taken for.
func (h *vnetHeader) protocol() uint16 {
	switch h.gso() &^ GSOECN {
	case GSOTCPv4, GSOUDP, GSOUDPL4:
		return tpacket.ETHPIP
	case GSOTCPv6:
		return tpacket.ETHPIPv6
	}
	return 0
}

// offload gives the packet the offload state that the header asks for, as
// virtio_net_hdr_to_skb does (linux/virtio_net.h), and returns the protocol that
// it makes of it. headed is how much of the packet Linux would have in one piece.
func (o *outgoing) offload(d *Device, h vnetHeader, protocol uint16, headed int) (uint16, error) {
	p := &o.packet
	seg, err := h.kind()
	if err != nil {
		return 0, err
	}
	if h.needsChecksum() {
		least := max(seg.network, 20)
		if h.start() < least || h.start()+max(seg.header, h.offset()+2) > len(p.Data) {
			return 0, badVnet("csum_start %d, csum_offset %d: want them within bytes %d to %d of the frame", h.start(), h.offset(), least, len(p.Data))
		}
		p.Checksum = ChecksumPartial
		p.ChecksumStart, p.ChecksumOffset = uint16(h.start()), uint16(h.offset())
	}
	if protocol == 0 {
		protocol = h.protocol()
	}
	if !h.segmented() {
		return protocol, nil
	}
	end := h.start() + seg.header
	if !h.needsChecksum() {
		// As in Linux, tags in the frame are not recognized here.
		at, _ := d.network(p.Data, protocol)
		f, ok := walk(p.Data, at, protocol)
		if !ok && protocol == tpacket.ETHPIP && h.gso()&^GSOECN == GSOUDP {
			protocol = tpacket.ETHPIPv6 // the type stands for both
			f, ok = walk(p.Data, at, protocol)
		}
		if end = f.Pos + seg.header; !ok || f.Transport != seg.transport || end > len(p.Data) {
			return 0, badVnet("gso_type %#x: the frame's headers are not of that kind", h[1])
		}
	}
	payload := len(p.Data) - end
	switch {
	case h.gso() == GSOUDPL4 && payload > h.size()*maxUDPSegments:
		return 0, badVnet("gso_size %d: want at most %d segments of %d bytes", h.size(), maxUDPSegments, payload)
	case h.gso()&^GSOECN == GSOUDP:
		payload += seg.header // IP fragments: the first one has the header
	}
	if payload <= h.size() {
		return protocol, nil // an ordinary packet
	}
	return protocol, o.segment(d, h, seg, protocol, max(headed, end))
}

// segment makes the packet a large segment, if it can be cut up as one: what
// skb_gso_segment looks after before a device gets it. headed is as with offload.
func (o *outgoing) segment(d *Device, h vnetHeader, seg segments, protocol uint16, headed int) error {
	p := &o.packet
	at, inner := d.network(p.Data, protocol)
	f, ok := walk(p.Data, at, inner)
	end := f.Pos + seg.header
	ok = ok && f.Transport == seg.transport && end <= len(p.Data) && (!h.needsChecksum() || h.start() == f.Pos)
	tcp := seg.transport == 6
	if ok && tcp {
		header := int(p.Data[f.Pos+12]>>4) * 4
		end = f.Pos + header
		ok = header >= seg.header && len(p.Data)-end > h.size() && (f.AddrLen == 4) == (h.gso()&^GSOECN == GSOTCPv4)
	}
	if !ok {
		return cannotCut(h)
	}
	if kind := h.gso() &^ GSOECN; kind == GSOUDP || len(p.Data) > maxSegment {
		if o.split, ok = gso.NewSplit(p.Data, gso.Kind(kind), at, end, h.size(), &f); !ok {
			return cannotCut(h)
		}
	} else {
		p.GSO = GSO{Type: h.gso(), Size: uint16(h.size()), HdrLen: uint16(end)}
		o.meta.headLen = uint32(max(headed, end))
	}
	if o.split.Fragments() {
		o.makeWritable()
		o.split.FillChecksum(p.Data, &f)
		p.Checksum, p.ChecksumStart, p.ChecksumOffset = ChecksumValid, 0, 0
	}
	if tcp && !h.needsChecksum() {
		// The program summed up the whole. Its parts are summed up when they are
		// made, and their sums begin with that of the addresses.
		o.makeWritable()
		p.Checksum = ChecksumPartial
		p.ChecksumStart, p.ChecksumOffset = uint16(f.Pos), uint16(seg.checksum)
		binary.BigEndian.PutUint16(p.Data[f.Pos+seg.checksum:], gso.PseudoHeader(&f, len(p.Data)-f.Pos))
	}
	return nil
}

func cannotCut(h vnetHeader) error {
	return explain.Errorf(syscall.ENOMEM, "virtio_net_hdr: gso_type %#x, gso_size %d, csum_start %d: the frame cannot be cut up like that", h[1], h.size(), h.start())
}

// makeWritable makes the frame one that may be modified.
func (o *outgoing) makeWritable() {
	if len(o.buf) == 0 || &o.buf[0] != &o.packet.Data[0] {
		o.buf = append(o.buf[:0], o.packet.Data...)
		o.packet.Data = o.buf
	}
}

// network is where the frame's network header is, and of what protocol: behind its
// VLAN tags, if protocol says that it has some.
func (d *Device) network(frame []byte, protocol uint16) (at int, inner uint16) {
	meta := packetMeta{maclen: d.maclen, from: d.from}
	if d.ethernet() && isVLAN(protocol) {
		meta.readTags(&Packet{Data: frame, Outgoing: true})
		protocol = binary.BigEndian.Uint16(frame[meta.maclen-2:])
	}
	return int(meta.maclen), protocol
}

// walk goes through the frame's headers, from a network header on. ok says that
// all of them made sense.
func walk(frame []byte, at int, protocol uint16) (f dissect.Flow, ok bool) {
	dissect.Walk(&dissect.Packet{Data: frame, NetOff: at, Protocol: protocol}, &f)
	return f, f.Whole
}

package rxring

import (
	"github.com/rxring/rxring/internal/clock"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// fill copies and stamps the packet into its slot, and returns the status to release it with.
func (s *Socket) fill(rx *rxOptions, slot uint32, p *Packet, meta *packetMeta, snaplen uint32, cut bool) (status uint32) {
	frame := rx.ring.Frame(slot)
	at, skip := rx.offsets(meta), rx.skipLen(meta)
	if snaplen > 0 {
		gather(frame[at.Mac:at.Mac+snaplen], p, skip)
	}
	status = meta.status
	if s.counters.Losing() {
		status |= tpacket.StatusLosing
	}
	if rx.vnetLen != 0 && at.Mac <= rx.frameSize {
		stampVnet(frame[:at.Mac], p, meta)
	}
	if cut && s.enqueueCopy(rx, p, meta) {
		status |= tpacket.StatusCopy
	}
	now := meta.clock()
	if rx.version == tpacket.V1 {
		h := tpacket.Header1At(frame)
		h.Len, h.Snaplen = meta.length-skip, snaplen
		h.Mac, h.Net = uint16(at.Mac), uint16(at.Net)
		h.Sec, h.Usec = uint32(now/1e9), uint32(now%1e9/1e3)
	} else {
		h := tpacket.Header2At(frame)
		h.Len, h.Snaplen = meta.length-skip, snaplen
		h.Mac, h.Net = uint16(at.Mac), uint16(at.Net)
		h.Sec, h.Nsec = uint32(now/1e9), uint32(now%1e9)
		h.VLANTCI, h.VLANTPID, h.Padding = 0, 0, [4]uint8{}
	}
	stampFrom(tpacket.SockaddrLLAt(frame, rx.version), &meta.from)
	if meta.extra != 0 {
		status |= rx.stampExtra(frame, at.Mac+snaplen, p, meta)
	}
	return status
}

// receiveBlock is what receiveOne does after admit for a V3 ring, whose reader is woken once
// per block, not per packet.
func (s *Socket) receiveBlock(rx *rxOptions, p *Packet, meta *packetMeta, snaplen uint32) {
	at, skip := rx.offsets(meta), rx.skipLen(meta)
	fits := at.Mac <= rx.frameSize
	at.Mac = min(at.Mac, rx.frameSize)
	size := min(at.Mac+snaplen+meta.trailer&rx.trailers, rx.frameSize)
	room, verdict := rx.blocks.Acquire(size)
	if verdict != ring.Acquired {
		s.counters.Drop(verdict, 1)
		return
	}
	frame := rx.blocks.Bytes(room)
	if snaplen > 0 {
		gather(frame[at.Mac:at.Mac+snaplen], p, skip)
	}
	if rx.vnetLen != 0 && fits {
		stampVnet(frame[:at.Mac], p, meta)
	}
	now := meta.clock()
	h := tpacket.Header3At(frame)
	*h = tpacket.Header3{
		NextOffset: room.Size(),
		Sec:        uint32(now / 1e9),
		Nsec:       uint32(now % 1e9),
		Snaplen:    snaplen,
		Len:        meta.length - skip,
		Status:     meta.status,
		Mac:        uint16(at.Mac),
		Net:        uint16(at.Net),
	}
	if rx.fillHash {
		if h.RxHash = p.Hash; h.RxHash == 0 {
			h.RxHash = flowHash(p, meta)
		}
	}
	stampFrom(tpacket.SockaddrLLAt(frame, tpacket.V3), &meta.from)
	if meta.extra != 0 {
		h.Status |= rx.stampExtra(frame, at.Mac+snaplen, p, meta)
	}
	rx.blocks.Release(room)
}

// stampFrom writes the sender's address behind the header. Bytes of sll_addr past the address
// keep their values, as in Linux.
func stampFrom(to, from *tpacket.SockaddrLL) {
	to.Family, to.Protocol, to.Ifindex = from.Family, from.Protocol, from.Ifindex
	to.Hatype, to.Pkttype, to.Halen = from.Hatype, from.Pkttype, from.Halen
	if from.Halen == etherAddrLen {
		*(*[etherAddrLen]byte)(to.Addr[:]) = [etherAddrLen]byte(from.Addr[:])
	} else if from.Halen > 0 {
		to.Addr = from.Addr
	}
}

// stampVnet writes the virtio_net_hdr right before the packet. It is not inlined into fill,
// which rarely needs it.
//
//go:noinline
func stampVnet(before []byte, p *Packet, meta *packetMeta) {
	h := p.vnet(meta, meta.length)
	copy(before[len(before)-sizeofVnetHeader:], h[:])
}

// clock returns the time of the packet: all sockets share one reading.
func (meta *packetMeta) clock() int64 {
	if meta.timestamp == 0 {
		meta.readClock()
	}
	return meta.timestamp
}

func (meta *packetMeta) readClock() { meta.timestamp = clock.Now() }

// maxOffset is what tp_net can hold: Linux drops a packet past it.
const maxOffset = 1<<16 - 1

// gather copies len(dst) bytes of the packet, from offset skip on.
func gather(dst []byte, p *Packet, skip uint32) {
	n := 0
	if int(skip) < len(p.Data) { // always, but for headers in pieces
		n = copy(dst, p.Data[skip:])
		skip = 0
	} else {
		skip -= uint32(len(p.Data))
	}
	for _, b := range p.Rest {
		if n == len(dst) {
			return
		}
		if int(skip) >= len(b) {
			skip -= uint32(len(b))
			continue
		}
		n += copy(dst[n:], b[skip:])
		skip = 0
	}
}

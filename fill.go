package rxring

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/rxring/rxring/internal/clock"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// receiveBlock is what receiveOne does after admit for a V3 ring, whose reader is woken once
// per block, not per packet.
func (s *Socket) receiveBlock(rx *rxOptions, p *Packet, meta *packetMeta, snaplen uint32) {
	room, verdict := rx.blocks.Acquire(rx.blockSize(meta, snaplen))
	if verdict != ring.Acquired {
		s.counters.Drop(verdict, 1)
		return
	}
	meta.stamp()
	frame := rx.blocks.Bytes(room)
	status := rx.fill(frame, p, meta, snaplen)
	tpacket.Header3At(frame).Status = status
	rx.blocks.Release(room)
}

// receiveBlocks is receiveBlock for the packets in mask, which have their times. It reserves the
// bytes of several at once.
func (s *Socket) receiveBlocks(rx *rxOptions, b *measuredBatch, mask batchMask, snaplens *[maxBatch]uint32) {
	var sizes [maxBatch]uint32
	n := 0
	for rest := mask; rest != 0; rest = rest.rest() {
		i := rest.first()
		sizes[n%maxBatch] = rx.blockSize(&b.metas[i], snaplens[i])
		n++
	}
	for left := sizes[:n]; len(left) > 0; {
		room, got, verdict := rx.blocks.AcquireBatch(left)
		if verdict != ring.Acquired { // the next packet is dropped; those after it try again
			s.counters.Drop(verdict, 1)
			left, mask = left[1:], mask.rest()
			continue
		}
		frames := rx.blocks.Bytes(room)
		for _, size := range left[:got] {
			i, size := mask.first(), writer.AlignedSize(size)
			status := rx.fill(frames[:size:size], &b.packets[i], &b.metas[i], snaplens[i])
			tpacket.Header3At(frames).Status = status
			frames, mask = frames[size:], mask.rest()
		}
		rx.blocks.Release(room)
		left = left[got:]
	}
}

// blockSize is how many bytes of a block the packet takes, its header included.
func (rx *rxOptions) blockSize(meta *packetMeta, snaplen uint32) uint32 {
	mac := min(rx.offsets(meta.maclen-rx.skipLen(meta)).Mac, rx.frameSize)
	return min(mac+snaplen+meta.trailer&rx.trailers, rx.frameSize)
}

// fill writes the frame's header but for the status, the address and the packet, and returns the
// status.
func (rx *rxOptions) fill(frame []byte, p *Packet, meta *packetMeta, snaplen uint32) (status uint32) {
	sec, nsec := seconds(meta.timestamp)
	skip := rx.skipLen(meta)
	at := rx.offsets(meta.maclen - skip)
	var from *tpacket.SockaddrLL
	switch rx.version {
	case tpacket.V2:
		h := tpacket.Frame2At(frame)
		h.Len, h.Snaplen = meta.length-skip, snaplen
		h.Mac, h.Net = uint16(at.Mac), uint16(at.Net)
		h.Sec, h.Nsec = sec, nsec
		h.VLANTCI, h.VLANTPID = 0, 0
		clear(h.Padding[:])
		from = &h.From
	case tpacket.V3:
		h := tpacket.Frame3At(frame)
		h.NextOffset = uint32(len(frame))
		h.Sec, h.Nsec = sec, nsec
		h.Snaplen, h.Len = snaplen, meta.length-skip
		h.Mac, h.Net = uint16(min(at.Mac, rx.frameSize)), uint16(at.Net)
		h.RxHash, h.VLANTCI, h.VLANTPID, h.Padding16 = 0, 0, 0, 0
		clear(h.Padding[:])
		from = &h.From
	default:
		h := tpacket.Frame1At(frame)
		h.Len, h.Snaplen = meta.length-skip, snaplen
		h.Mac, h.Net = uint16(at.Mac), uint16(at.Net)
		h.Sec, h.Usec = sec, nsec/1e3
		from = &h.From
	}
	stampFrom(from, &meta.from)
	if meta.extra != 0 || rx.stampsMore {
		return rx.stampMore(frame, at.Mac, p, meta, snaplen)
	}
	switch {
	case snaplen == 0:
	case skip == 0 && int(snaplen) == len(p.Data): // most packets
		copy(frame[at.Mac:], p.Data)
	default:
		gather(frame[at.Mac:at.Mac+snaplen], p, skip)
	}
	return meta.status
}

// stampMore is the rest of fill for what few packets or sockets have, and for the packet.
//
//go:noinline
func (rx *rxOptions) stampMore(frame []byte, mac uint32, p *Packet, meta *packetMeta, snaplen uint32) (status uint32) {
	status = meta.status
	if meta.extra != 0 {
		status |= rx.stampExtra(frame, mac+snaplen, p, meta)
	}
	if rx.fillHash {
		tpacket.Header3At(frame).RxHash = rxHash(p, meta)
	}
	if rx.vnetLen != 0 && mac <= rx.frameSize {
		stampVnet(frame[:mac], p, meta)
	}
	if snaplen > 0 {
		gather(frame[mac:mac+snaplen], p, rx.skipLen(meta))
	}
	return status
}

// seconds divides a time as Linux does: before 1970, too, the nanoseconds are not negative.
func seconds(t int64) (sec, nsec uint32) {
	if t < 0 {
		t += 1 << 32 * 1e9 // seconds are counted modulo 2^32
	}
	return uint32(uint64(t) / 1e9), uint32(uint64(t) % 1e9)
}

// rxHash is the flow hash that a V3 header shows.
func rxHash(p *Packet, meta *packetMeta) uint32 {
	if p.Hash != 0 {
		return p.Hash
	}
	return flowHash(p, meta)
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

// stampVnet writes the virtio_net_hdr right before the packet.
func stampVnet(before []byte, p *Packet, meta *packetMeta) {
	h := p.vnet(meta, meta.length)
	copy(before[len(before)-sizeofVnetHeader:], h[:])
}

// stamp gives the packet a time if it has none: all sockets share one reading.
func (meta *packetMeta) stamp() {
	if meta.timestamp == 0 {
		meta.readClock()
	}
}

func (meta *packetMeta) readClock() { meta.timestamp = clock.Now() }

// maxOffset is what tp_net can hold: Linux drops a packet past it.
const maxOffset = 1<<16 - 1

// gather copies len(dst) bytes of the packet, from offset skip on.
func gather(dst []byte, p *Packet, skip uint32) {
	if len(p.Rest) > 0 || int(skip) > len(p.Data) { // as of a truncated packet
		gatherPieces(dst, p, skip)
		return
	}
	copy(dst, p.Data[skip:])
}

// gatherPieces is gather for a packet in pieces.
//
//go:noinline
func gatherPieces(dst []byte, p *Packet, skip uint32) {
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

// A socket with the option OptComments has comments in its ring: each lies behind its packet's
// bytes, and a status bit says so. The layout stays Linux's, and a packet without a comment
// takes no more room. A slot has as much of a comment as it has room. A socket whose grant
// hides bytes of packets gets no comments: they may tell more than the packets do.

// maxComment is how many bytes of a comment are kept.
const maxComment = 4096

// stampComment writes the comment, or its beginning, to the room behind a packet, and returns
// the bit of tp_status for it.
func stampComment(room []byte, comment string) (status uint32) {
	if len(room) <= tpacket.SizeofCommentLen {
		return 0
	}
	text := room[tpacket.SizeofCommentLen:]
	n := min(len(comment), len(text), maxComment)
	for n > 0 && n < len(comment) && !utf8.RuneStart(comment[n]) { // no half a character
		n--
	}
	copy(text[:n], comment)
	binary.NativeEndian.PutUint16(room, uint16(n))
	return tpacket.StatusComment
}

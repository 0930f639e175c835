package race

import (
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/rxring/rxring/source/netstack/streams/payload"
	"github.com/rxring/rxring/tpacket"
)

// reader is a careful program that has mapped the ring: it reads slots in order, takes
// only USER as its own (so TP_KERNEL_OWNED does not deceive it), copies the packet
// out, hands the slot back, and does not touch it until it is USER again. It hands a
// block back with the last packet of it.
//
// Once in a round it stores a value to the padding of a slot that it owns, as any
// reader may: only the slot-mark design is affected.
type reader struct {
	round *round
	slot  uint32 // or block
	at    uint32 // in a block: where its next packet lies
	left  uint32 // packets in it
	copy  []byte
	last  []uint64 // for each writer, the number of its latest whole packet

	read, torn, repeated uint64
	probed               uint64 // of read, in probe
	tear                 *Tear  // the first
	spans                history[readSpan]
}

// readSpan is one packet's time with the reader.
type readSpan struct {
	slot           int
	seen, returned time.Duration
	packet         Packet
	torn           bool
}

// scribbleAt is the number of packets that the reader reads before it does so.
const scribbleAt = 100

func newReader(rd *round) reader {
	return reader{round: rd, copy: make([]byte, rd.size), last: make([]uint64, rd.Writers+1)}
}

// next reads the next packet, if there is one.
func (r *reader) next() bool {
	if r.round.design == Blocks {
		return r.nextOfBlock()
	}
	rd := r.round
	frame := rd.memory[int(r.slot)*rd.Frame:][:rd.Frame]
	status := (*uint32)(unsafe.Pointer(unsafe.SliceData(frame)))
	if atomic.LoadUint32(status)&tpacket.StatusUser == 0 { // pairs with the writer's Release
		return false
	}
	s := readSpan{slot: int(r.slot), seen: rd.now()}
	h := tpacket.Header2At(frame)
	s.packet = Packet{int(h.Sec), uint64(h.Nsec)}
	size := int(h.Snaplen)
	copy(r.copy, frame[dataAt:])
	if r.read++; r.read == scribbleAt {
		atomic.StoreUint32((*uint32)(unsafe.Pointer(&h.Padding)), 1)
	}
	r.handBack(status, &s)
	id := uint64(0)
	if r.check(&s, r.copy, size) {
		id = returnedID(s.packet)
	}
	rd.returned[s.slot].Store(id) // after the status: what is found here was handed back
	return true
}

// nextOfBlock is next for blocks. It hands back blocks without packets.
func (r *reader) nextOfBlock() bool {
	rd := r.round
	block := rd.memory[int(r.slot)*rd.Frame:][:rd.Frame]
	d := (*tpacket.BlockDesc)(unsafe.Pointer(unsafe.SliceData(block)))
	for r.left == 0 {
		if atomic.LoadUint32(&d.Status)&tpacket.StatusUser == 0 { // pairs with the last writer's Release
			return false
		}
		r.left, r.at = d.NumPkts, d.OffsetToFirstPkt
		if r.left == 0 {
			r.handBack(&d.Status, nil)
			return r.nextOfBlock()
		}
	}
	s := readSpan{slot: int(r.slot), seen: rd.now()}
	r.read++
	r.left--
	if r.at > uint32(len(block)-dataAt) {
		r.handBack(&d.Status, &s) // nowhere
		r.check(&s, nil, 0)
		r.left = 0
		return true
	}
	frame := block[r.at:]
	h := *tpacket.Header3At(frame)
	s.packet = Packet{int(h.Sec), uint64(h.Nsec)}
	data := r.copy[:copy(r.copy[:min(int(h.Snaplen), len(r.copy))], frame[dataAt:])]
	r.at += h.NextOffset
	switch {
	case r.left == 0:
		r.handBack(&d.Status, &s)
	case h.NextOffset == 0: // fewer packets than the block says
		s.packet = Packet{-1, 0}
		r.left = 0
		r.handBack(&d.Status, &s)
	default:
		s.returned = rd.now()
	}
	r.check(&s, data, int(h.Snaplen))
	return true
}

// handBack gives the slot back, from which s was read.
func (r *reader) handBack(status *uint32, s *readSpan) {
	atomic.StoreUint32(status, tpacket.StatusKernel) // pairs with the writer's Acquire
	if s != nil {
		s.returned = r.round.now()
	}
	if r.slot++; r.slot == uint32(r.round.Slots) {
		r.slot = 0
	}
}

// check reports whether the packet just read is the one that its header says, of size
// bytes.
func (r *reader) check(s *readSpan, data []byte, size int) (whole bool) {
	rd, p := r.round, s.packet
	whole = p.Writer >= 0 && p.Writer <= rd.Writers && size == len(data) && (size == rd.sizeOf(p) || p.Writer == rd.Writers) &&
		payload.VerifyAt(data, rd.position(p)) == nil
	if whole {
		if p.Number <= r.last[p.Writer] {
			r.repeated++
		}
		r.last[p.Writer] = p.Number
	} else {
		s.torn = true
		r.tore(s, data)
	}
	r.spans.add(*s)
	return whole
}

// tore records the torn packet just read.
func (r *reader) tore(s *readSpan, data []byte) {
	r.torn++
	if r.tear != nil {
		return
	}
	r.tear = &Tear{Slot: s.slot, Bytes: len(data), Header: s.packet, Ranges: r.round.ranges(data)}
	if r.round.firstTear {
		r.round.stop.Store(true)
	}
}

// ranges returns which writers' packets a packet's bytes belong to.
func (rd *round) ranges(b []byte) (all []Range) {
	for at := 0; at < len(b); at += payload.BlockSize {
		r := Range{From: at, To: min(at+payload.BlockSize, len(b)), Nobody: true}
		if _, p, ok := payload.Find(b[at:r.To]); ok && p.Offset%uint64(rd.size) == uint64(at) && int(p.Stream) <= rd.Writers {
			r.Packet, r.Nobody = Packet{int(p.Stream), p.Offset / uint64(rd.size)}, false
		}
		if n := len(all) - 1; n >= 0 && all[n].Packet == r.Packet && all[n].Nobody == r.Nobody {
			all[n].To = r.To
			continue
		}
		all = append(all, r)
	}
	return all
}

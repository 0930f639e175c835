package race

import (
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/rxring/rxring/source/streams/payload"
	"github.com/rxring/rxring/tpacket"
)

// reader is what a careful program does with a ring that it has mapped: it takes
// slots in order, believes that USER makes one its own (and nothing else does,
// so TP_KERNEL_OWNED does not deceive it), copies the packet out, hands the slot
// back, and never touches it in between.
//
// Once in a round it leaves a value in the padding of a slot that is its own,
// as any reader may: nobody but the slot-mark design minds.
type reader struct {
	round *round
	slot  uint32
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

// scribbleAt is how many packets the reader takes before it leaves its value.
const scribbleAt = 100

func newReader(rd *round) reader {
	return reader{round: rd, copy: make([]byte, rd.size), last: make([]uint64, rd.Writers+1)}
}

// next takes the next packet, if there is one.
func (r *reader) next() bool {
	rd := r.round
	frame := rd.ring.Frame(r.slot)
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
	atomic.StoreUint32(status, tpacket.StatusKernel) // pairs with the writer's Acquire
	s.returned = rd.now()

	id := uint64(0)
	if size == rd.size && s.packet.Writer <= rd.Writers && payload.VerifyAt(r.copy, rd.position(s.packet)) == nil {
		id = returnedID(s.packet)
		if s.packet.Number <= r.last[s.packet.Writer] {
			r.repeated++
		}
		r.last[s.packet.Writer] = s.packet.Number
	} else {
		s.torn = true
		r.tore(&s)
	}
	rd.returned[r.slot].Store(id) // after the status: what is found here was handed back
	r.spans.add(s)
	if r.slot++; r.slot == uint32(rd.Slots) {
		r.slot = 0
	}
	return true
}

// tore looks at the torn packet just read.
func (r *reader) tore(s *readSpan) {
	r.torn++
	if r.tear != nil {
		return
	}
	r.tear = &Tear{Slot: s.slot, Bytes: len(r.copy), Header: s.packet, Ranges: r.round.ranges(r.copy)}
	if r.round.firstTear {
		r.round.stop.Store(true)
	}
}

// ranges says of a packet's bytes whose they are.
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

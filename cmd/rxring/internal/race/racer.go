package race

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/source/netstack/streams/payload"
	"github.com/rxring/rxring/tpacket"
)

// dataAt is where packets begin in a frame: where Linux puts those of a
// SOCK_DGRAM socket with V2, on a 16-byte boundary, and behind V3's headers.
const dataAt = 80

// position is where in the writers' self-describing streams a packet lies: each
// writer has a stream, and packet n its n'th piece.
func (rd *round) position(p Packet) payload.Position {
	return payload.Position{Stream: uint16(p.Writer), Offset: p.Number * uint64(rd.size)}
}

// sizeOf is a packet's length in bytes: all that a slot holds; in blocks many small
// ones, and some that fill a block.
func (rd *round) sizeOf(p Packet) int {
	if rd.design != Blocks {
		return rd.size
	}
	h := (uint64(p.Writer)<<32 + p.Number) * 0x9e3779b97f4a7c15
	size := uint64(rd.size) / 16
	switch h >> 61 {
	case 0:
		// size
	case 1:
		size /= 2
	default:
		size = h >> 32 % (size/4 + 1)
	}
	return int(max(size, 2) * 16)
}

// racer is a writer that offers packets without end.
type racer struct {
	*round
	index  int
	number uint64 // packets offered so far; the current one's number

	ghost atomic.Uint64 // what the writer does: see ghost.go
	seen  []uint64      // the others' ghosts before the latest Acquire
	last  uint32        // slot of the latest verdict

	verdicts [len(ring.Drops{})]uint64
	lost     uint64
	spans    history[span]
	_        [64]byte // no other writer on the last line
}

// span is one packet's time in a slot.
type span struct {
	packet           Packet
	slot             int
	acquired         time.Duration // since the round began
	stalled, resumed time.Duration // in mid-copy; both 0 when the writer did not stall
	copied           time.Duration // the call of Release
	released         time.Duration // its return
}

func (w *racer) run() {
	for !w.stop.Load() {
		w.offer()
	}
}

// offer is a packet's life.
func (w *racer) offer() {
	w.number++
	w.offered.Add(1)

	w.ghost.Store(ghostAcquiring | w.number<<ghostNumber)
	before := w.lookAround()
	me := Packet{w.index, w.number}
	size := w.sizeOf(me)
	p, v := w.ring.acquire(size)
	w.verdicts[v]++
	if v != ring.Acquired {
		switch {
		case w.design == Blocks && v == ring.Owned && w.provenAlone(),
			w.design != Blocks && v != ring.Full && p.slot == w.last && w.provenFree(p.slot, before):
			w.lost++
		}
		w.last = p.slot
		w.ghost.Store(ghostIdle | w.number<<ghostNumber)
		runtime.Gosched() // no slot: let the owner or the reader run
		return
	}
	s := span{packet: me, slot: int(p.slot), acquired: w.now()}
	w.ghost.Store(ghostFilling | uint64(p.slot)<<ghostSlot | w.number<<ghostNumber)
	s.stalled, s.resumed = w.fill(p.frame, size, w.SlowWriter)
	s.copied = w.now()
	w.ghost.Store(ghostReleasing | uint64(p.slot)<<ghostSlot | w.number<<ghostNumber)
	w.ring.release(p)
	s.released = w.now()
	w.last = p.slot
	w.ghost.Store(ghostIdle | w.number<<ghostNumber)
	w.spans.add(s)
}

// fill writes size bytes of the current packet into a frame: first the content,
// then the header, as Linux does. With probability slowness it stalls in
// mid-copy.
func (w *racer) fill(frame []byte, size int, slowness float64) (stalled, resumed time.Duration) {
	data := frame[dataAt : dataAt+size]
	p := w.position(Packet{w.index, w.number})
	if slow(slowness) {
		cut := 16 * (1 + rand.IntN(len(data)/16-1))
		payload.Fill(data[:cut], p)
		stalled = w.now()
		w.stall()
		resumed = w.now()
		p.Offset += uint64(cut)
		data = data[cut:]
	}
	payload.Fill(data, p)

	if w.design == Blocks {
		*tpacket.Header3At(frame) = tpacket.Header3{
			NextOffset: uint32(len(frame)),
			Sec:        uint32(w.index), Nsec: uint32(w.number),
			Len: uint32(size), Snaplen: uint32(size),
			Status: tpacket.StatusUser, Mac: dataAt, Net: dataAt,
		}
		return stalled, resumed
	}
	h := tpacket.Header2At(frame)
	h.Len, h.Snaplen = uint32(size), uint32(size)
	h.Mac, h.Net = dataAt, dataAt
	h.Sec, h.Nsec = uint32(w.index), uint32(w.number)
	return stalled, resumed
}

func slow(probability float64) bool { return probability > 0 && rand.Float64() < probability }

// history keeps the latest of what is added to it.
type history[T any] struct {
	items []T
	n     int
}

// remembered is how much a history keeps.
const remembered = 1024

func (h *history[T]) add(v T) {
	if len(h.items) < remembered {
		h.items = append(h.items, v)
	} else {
		h.items[h.n%remembered] = v
	}
	h.n++
}

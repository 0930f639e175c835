package dump

import (
	"encoding/binary"
	"math"
)

// history keeps the newest packets in memory of a fixed size. Positions grow for ever; modulo
// the size they are offsets in the memory.
type history struct {
	memory []byte
	oldest uint64 // position of the oldest packet
	end    uint64 // and of the next one
}

// A packet in the memory is a header and the packet's bytes, padded to recordAlign, all in one
// piece. A length of 0 says that the next one is at the beginning of the memory.
const (
	recordLength   = 0 // of header, bytes and padding
	recordKept     = 4 // bytes that are stored
	recordLen      = 8 // original length
	recordDevice   = 12
	recordTime     = 16
	recordOutgoing = 24
	recordComment  = 26 // bytes of the comment, which follows the packet's
	recordIndex    = 28
	recordHeader   = 32

	recordAlign = 32
)

func newHistory(size int64) history {
	return history{memory: make([]byte, size&^(recordAlign-1))}
}

// add stores a packet in the place of the oldest ones. It returns false, and stores nothing, if
// that would need the place of a packet at limit or after it.
func (h *history) add(p *packet, limit uint64) bool {
	size := uint64(len(h.memory))
	comment := p.comment[:min(len(p.comment), math.MaxUint16)]
	length := (recordHeader + uint64(len(p.data)+len(comment)) + recordAlign - 1) &^ (recordAlign - 1)
	at, skip := h.end%size, uint64(0)
	if at+length > size {
		skip = size - at
	}
	for h.end+skip+length-h.oldest > size {
		if h.oldest >= limit || h.oldest == h.end {
			return false
		}
		_, h.oldest = h.packet(h.oldest, nil)
	}
	le := binary.LittleEndian
	if skip > 0 {
		le.PutUint32(h.memory[at:], 0)
		at = 0
	}
	b := h.memory[at : at+length]
	le.PutUint32(b[recordLength:], uint32(length))
	le.PutUint32(b[recordKept:], uint32(len(p.data)))
	le.PutUint32(b[recordLen:], uint32(p.len))
	le.PutUint32(b[recordDevice:], uint32(p.device.id))
	le.PutUint64(b[recordTime:], uint64(p.time))
	b[recordOutgoing] = 0
	if p.outgoing {
		b[recordOutgoing] = 1
	}
	le.PutUint16(b[recordComment:], uint16(len(comment)))
	le.PutUint32(b[recordIndex:], p.index)
	copy(b[recordHeader+copy(b[recordHeader:], p.data):], comment)
	h.end += skip + length
	return true
}

// packet returns the packet at a position, whose bytes are those of the memory, and the position
// of the next one.
func (h *history) packet(at uint64, devices []*device) (p packet, next uint64) {
	size := uint64(len(h.memory))
	le := binary.LittleEndian
	b := h.memory[at%size:]
	if le.Uint32(b) == 0 {
		at += size - at%size
		b = h.memory
	}
	if devices != nil {
		p = packet{
			device:   devices[le.Uint32(b[recordDevice:])],
			time:     int64(le.Uint64(b[recordTime:])),
			len:      int(le.Uint32(b[recordLen:])),
			data:     b[recordHeader : recordHeader+le.Uint32(b[recordKept:])],
			outgoing: b[recordOutgoing] != 0,
			index:    le.Uint32(b[recordIndex:]),
		}
		if n := int(le.Uint16(b[recordComment:])); n > 0 {
			p.comment = string(b[recordHeader+len(p.data):][:n])
		}
	}
	return p, at + uint64(le.Uint32(b[recordLength:]))
}

package verify

import (
	"fmt"

	"github.com/rxring/rxring/source/netstack/streams/payload"
)

// place maps a connection's sequence numbers to a stream. base is the sequence
// number of the stream's first byte.
type place struct {
	stream uint16
	base   uint32
}

// placeOf returns the place in which the byte at p has sequence number seq.
func placeOf(p payload.Position, seq uint32) place {
	return place{stream: p.Stream, base: seq - uint32(p.Offset)}
}

// position returns the position with sequence number seq that is nearest to offset
// near in the stream.
func (pl place) position(seq uint32, near uint64) payload.Position {
	step := int32(seq - pl.base - uint32(near))
	return payload.Position{Stream: pl.stream, Offset: (near + uint64(int64(step))) % payload.MaxOffset}
}

// maxPlaces bounds the memory for one connection, which has one place unless its
// packets are torn.
const maxPlaces = 16

// flow is one direction of a connection. The majority of its packets decides its
// place at the end.
type flow struct {
	places []votes

	// lost counts packets of a place beyond maxPlaces.
	lost, firstLost int64

	// Packets without a block: they are torn if the connection carries a
	// stream, and foreign otherwise.
	without, firstWithout int64

	// Segments too short to identify, and not yet checked.
	short []shortSegment
}

// votes are the packets of a flow that agree on a place.
type votes struct {
	place
	packets int64
	first   int64  // number of the first of these packets
	bytes   int64  // of payload
	last    uint64 // stream offset of the latest
}

type shortSegment struct {
	packet  int64
	seq     uint32
	payload [payload.MinVerify]byte
	length  uint8
}

// maxShort bounds the segments kept until it is known what their connection
// carries. Further ones go unjudged.
const maxShort = 64

// vote records packet n, whose content of so many bytes is that at position at.
func (f *flow) vote(n int64, seq uint32, at payload.Position, bytes int) {
	pl := placeOf(at, seq)
	for i := range f.places {
		if v := &f.places[i]; v.place == pl {
			v.packets++
			v.bytes += int64(bytes)
			v.last = at.Offset
			return
		}
	}
	if len(f.places) == maxPlaces {
		if f.lost == 0 {
			f.firstLost = n
		}
		f.lost++
		return
	}
	f.places = append(f.places, votes{place: pl, packets: 1, first: n, bytes: int64(bytes), last: at.Offset})
}

// voteShort does the same for a segment that is too short to name its position. It
// returns false if the segment fits none of the flow's places.
func (f *flow) voteShort(n int64, seq uint32, segment []byte) bool {
	for i := range f.places {
		at := f.places[i].position(seq, f.places[i].last)
		if payload.VerifyAt(segment, at) == nil {
			f.vote(n, seq, at, len(segment))
			return true
		}
	}
	return false
}

// finish adds the flow's results to the report at the end of the capture.
func (f *flow) finish(key flowKey, r *Report) {
	if len(f.places) == 0 {
		return // foreign
	}
	r.Flows++
	for i := range f.short {
		s := &f.short[i]
		if !f.voteShort(s.packet, s.seq, s.payload[:s.length]) {
			r.Payload++
			r.tear(1, s.packet, fmt.Sprintf("%v: %d bytes that are not those of the connection's stream", key, s.length))
		}
	}
	best := 0
	for i, v := range f.places {
		if v.packets > f.places[best].packets {
			best = i
		}
	}
	of := f.places[best]
	r.Payload += of.packets + f.lost + f.without
	r.PayloadBytes += of.bytes
	for i, v := range f.places {
		if i == best {
			continue
		}
		r.Payload += v.packets
		reason := fmt.Sprintf("%v: headers and content belong to different packets: content of stream %d in a connection that carries stream %d (by %d packets)", key, v.stream, of.stream, of.packets)
		if v.stream == of.stream {
			reason = fmt.Sprintf("%v: headers and content belong to different packets: the sequence number is %d bytes away from the content's place in stream %d", key, int32(v.base-of.base), v.stream)
		}
		r.tear(v.packets, v.first, reason)
	}
	if f.lost > 0 {
		r.tear(f.lost, f.firstLost, fmt.Sprintf("%v: headers and content belong to different packets: content of yet another place than those of stream %d", key, of.stream))
	}
	if f.without > 0 {
		r.tear(f.without, f.firstWithout, fmt.Sprintf("%v: no block of any stream in a connection that carries stream %d", key, of.stream))
	}
}

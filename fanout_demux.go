package rxring

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/rxring/rxring/tpacket"
)

// rollover is what a member of a group that rolls over remembers. It mirrors
// struct packet_rollover (net/packet/internal.h).
type rollover struct {
	all, huge, failed atomic.Uint64
	next              atomic.Uint32 // the member to look at first, when this one has no room
	pressure          atomic.Bool   // the socket was seen short of room

	history [rolloverHistory]atomic.Uint32 // flows of late, while room was low
}

const rolloverHistory = 16 // ROLLOVER_HLEN

func (r *rollover) stats() tpacket.RolloverStats {
	return tpacket.RolloverStats{All: r.all.Load(), Huge: r.huge.Load(), Failed: r.failed.Load()}
}

// room is how much a socket still takes (packet_rcv_has_room,
// net/packet/af_packet.c).
type room uint8

const (
	roomNone   room = iota // where the next packet goes is the reader's
	roomLow                // it is not, but what lies a quarter of the ring ahead is
	roomNormal             // neither is
)

// room is for a packet of truesize bytes, which only a queue asks for.
func (s *Socket) room(truesize int64) room {
	rx := s.rx.Load() // pairs with the store in Socket.publish
	var free, ahead bool
	switch {
	case rx.ring != nil:
		g := rx.ring.Geometry()
		if ahead = rx.ring.Free(g.FrameNr / 4); !ahead {
			free = rx.ring.Free(0)
		}
	case rx.blocks != nil:
		g := rx.blocks.Geometry()
		if ahead = rx.blocks.Free(g.BlockNr / 4); !ahead {
			free = rx.blocks.Free(0)
		}
	default:
		limit := s.queue.limit.Load()
		left := limit - s.queue.held.Load() - truesize
		free, ahead = left > 0, left > limit/4
	}
	switch {
	case ahead:
		return roomNormal
	case free:
		return roomLow
	}
	return roomNone
}

// roomNow is room, remembered.
func (s *Socket) roomNow(truesize int64) room {
	r := s.room(truesize)
	if short := r != roomNormal; s.rollover.pressure.Load() != short { // mostly a read: others look at it, too
		s.rollover.pressure.Store(short)
	}
	return r
}

// relieve forgets that the socket was short of room, if it has room for a packet
// of truesize bytes now: what poll and recv do (packet_rcv_try_clear_pressure).
func (r *rollover) relieve(s *Socket, truesize int64) {
	if r.pressure.Load() && s.room(truesize) == roomNormal {
		r.pressure.Store(false)
	}
}

// rollOver is the number of the member that gets a packet meant for member i:
// i itself, with trySelf, unless it is short of room, and else the next one that
// is not (fanout_demux_rollover).
func rollOver(members []*Socket, i uint32, trySelf bool, p *Packet, a *arrival) uint32 {
	s := members[i]
	ro, own := s.rollover, roomNone
	size := truesize(a.seen)
	var skip *Socket
	if trySelf {
		own = s.roomNow(size)
		if own == roomNormal || own == roomLow && !ro.isHuge(p, a) {
			return i
		}
		skip = s
	}
	n := uint32(len(members))
	first := min(ro.next.Load(), n-1)
	// Linux leaves out for good whom it saw short of room, until his program
	// polls, and takes i when nobody is left. Here they are looked at again
	// before that: nothing is lost while any member has room.
	for _, again := range [...]bool{false, true} {
		for k := range n {
			next := first + k
			if next >= n {
				next -= n
			}
			s := members[next]
			if s == skip || !again && s.rollover.pressure.Load() || s.roomNow(size) != roomNormal {
				continue
			}
			if k > 0 {
				ro.next.Store(next)
			}
			ro.all.Add(1)
			if own == roomLow {
				ro.huge.Add(1)
			}
			return next
		}
	}
	ro.failed.Add(1)
	return i
}

// isHuge says whether most of the packets of late were of this one's flow, and
// remembers it in place of any one of them (fanout_flow_is_huge).
func (r *rollover) isHuge(p *Packet, a *arrival) bool {
	hash := p.Hash
	if hash == 0 {
		hash = flowHash(p, a)
	}
	count := 0
	for i := range r.history {
		if r.history[i].Load() == hash {
			count++
		}
	}
	if victim := &r.history[rand.Uint32N(rolloverHistory)]; victim.Load() != hash {
		victim.Store(hash)
	}
	return count > rolloverHistory/2
}

package rxring

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/rand/v2"
	"sync/atomic"

	"github.com/rxring/rxring/internal/defrag"
	"github.com/rxring/rxring/internal/dissect"
	"github.com/rxring/rxring/tpacket"
)

// fragmentMeta is a fragment without its bytes.
type fragmentMeta struct {
	packet Packet // without its bytes
	meta   packetMeta
}

// fragment reports whether the packet is an IPv4 fragment to reassemble, and copies it if so
// (ip_check_defrag, net/ipv4/ip_fragment.c). Truncated and malformed packets are not.
func fragment(p *Packet, meta *packetMeta) (f defrag.Frame[fragmentMeta], ok bool) {
	if meta.protocol != tpacket.ETHPIP || meta.capLen < meta.maclen+ipv4Header {
		return f, false
	}
	var h [ipv4Header]byte
	gather(h[:], p, meta.maclen)
	if !defrag.IsFragment(h[:]) {
		return f, false
	}
	n := uint32(binary.BigEndian.Uint16(h[2:])) // of the IPv4 packet: the frame may be padded
	if meta.capLen < meta.maclen+n || n < uint32(h[0]&15)*4 {
		return f, false
	}
	f = defrag.Frame[fragmentMeta]{
		Data:    make([]byte, meta.maclen+n),
		NetOff:  int(meta.maclen),
		Partial: p.Checksum == ChecksumPartial,
		Context: fragmentMeta{ // not *p: nothing of the caller's is kept
			packet: Packet{Outgoing: p.Outgoing, VLAN: p.VLAN, Mark: p.Mark, Queue: p.Queue},
			meta:   *meta,
		},
	}
	if p.Link != nil {
		link := *p.Link
		f.Context.packet.Link = &link
	}
	gather(f.Data, p, 0)
	return f, true
}

const ipv4Header = 20 // without options

// deliverFragment delivers the packet that f, which is p, makes whole, if it does.
// To members it is the first fragment, grown, at the time of the one that came
// last.
func (g *group) deliverFragment(f defrag.Frame[fragmentMeta], p *Packet, meta *packetMeta) {
	whole, ok := g.defrag.Add(f)
	if !ok {
		return
	}
	first := &whole.Context
	first.packet.Data = whole.Data
	first.packet.CPU = p.CPU
	first.packet.Timestamp = p.Timestamp
	first.meta.length = uint32(len(whole.Data))
	first.meta.capLen = first.meta.length
	first.meta.timestamp = meta.timestamp
	const stamped = tpacket.StatusTSSoftware
	first.meta.status = first.meta.status&^stamped | meta.status&stamped
	first.meta.status &^= tpacket.StatusCsumNotReady | tpacket.StatusCsumValid
	if whole.Partial {
		first.packet.Checksum = ChecksumPartial
		first.meta.status |= tpacket.StatusCsumNotReady
	}
	g.deliverToMember(&first.packet, &first.meta)
}

// choose returns the number of the member that receives the packet.
func (g *group) choose(members []*Socket, p *Packet, meta *packetMeta) (i uint32) {
	n := uint32(len(members))
	switch g.config.Mode {
	case FanoutHash:
		i = uint32(uint64(flowHash(p, meta)) * uint64(n) >> 32)
	case FanoutLB:
		i = g.nextMember.Add(1) % n
	case FanoutCPU:
		i = uint32(p.CPU) % n
	case FanoutRollover:
		return pickRollover(members, 0, false, p, meta)
	case FanoutRnd:
		i = rand.Uint32N(n)
	case FanoutQM:
		i = uint32(p.Queue) % n
	case FanoutCBPF:
		if f := g.program.Load(); f != nil { // pairs with the store in setProgramLocked
			i = meta.runFilter(f, p, programStart(p, meta)) % n
		}
	}
	if g.config.Flags&FanoutFlagRollover != 0 {
		return pickRollover(members, i, true, p, meta)
	}
	return i
}

// programStart returns where a packet begins for a group's program: Linux runs it before it
// restores the link-layer header of an incoming packet.
func programStart(p *Packet, meta *packetMeta) uint32 {
	if p.Outgoing {
		return 0
	}
	return meta.maclen
}

func (g *group) usesRollover() bool {
	return g.config.Mode == FanoutRollover || g.config.Flags&FanoutFlagRollover != 0
}

// rolloverState is the state of a member of a group that rolls over. It mirrors struct
// packet_rollover (net/packet/internal.h).
type rolloverState struct {
	all, huge, failed atomic.Uint64
	next              atomic.Uint32 // the member to try first when this one has no room
	pressure          atomic.Bool   // the socket was short of room

	history [rolloverHistory]atomic.Uint32 // flows of late, while room was low
}

const rolloverHistory = 16 // ROLLOVER_HLEN

func (r *rolloverState) stats() tpacket.RolloverStats {
	return tpacket.RolloverStats{All: r.all.Load(), Huge: r.huge.Load(), Failed: r.failed.Load()}
}

// headroom is how much a socket can still receive (packet_rcv_has_room,
// net/packet/af_packet.c).
type headroom uint8

const (
	headroomNone   headroom = iota // where the next packet goes is the reader's
	headroomLow                    // it is not, but what lies a quarter of the ring ahead is
	headroomNormal                 // neither is
)

// headroom is for a packet of truesize bytes, which only a queue asks for.
func (s *Socket) headroom(truesize int64) headroom {
	rx := s.rx.Load() // pairs with the store in Socket.publishLocked
	var free, ahead bool
	switch {
	case rx.slots != nil:
		g := rx.slots.Geometry()
		if ahead = rx.slots.Free(g.FrameNr / 4); !ahead {
			free = rx.slots.Free(0)
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
		return headroomNormal
	case free:
		return headroomLow
	}
	return headroomNone
}

// noteHeadroom is headroom; it records whether the socket is short of room.
func (s *Socket) noteHeadroom(truesize int64) headroom {
	r := s.headroom(truesize)
	if short := r != headroomNormal; s.rolloverState.pressure.Load() != short { // mostly a read: other writers read it, too
		s.rolloverState.pressure.Store(short)
	}
	return r
}

// tryClearPressure clears the pressure flag if the socket has room for a packet of truesize
// bytes again: poll and recv call it (packet_rcv_try_clear_pressure).
func (r *rolloverState) tryClearPressure(s *Socket, truesize int64) {
	if r.pressure.Load() && s.headroom(truesize) == headroomNormal {
		r.pressure.Store(false)
	}
}

// pickRollover returns the number of the member that receives a packet meant for member i:
// with trySelf i itself, unless it is short of room, and else the next one that has room
// (fanout_demux_rollover).
func pickRollover(members []*Socket, i uint32, trySelf bool, p *Packet, meta *packetMeta) uint32 {
	s := members[i]
	ro, own := s.rolloverState, headroomNone
	size := truesize(meta.capLen)
	var skip *Socket
	if trySelf {
		own = s.noteHeadroom(size)
		if own == headroomNormal || own == headroomLow && !ro.isHuge(p, meta) {
			return i
		}
		skip = s
	}
	n := uint32(len(members))
	first := min(ro.next.Load(), n-1)
	// Linux skips members that were short of room until their program polls, and
	// falls back to i when none is left. Here a second pass checks them again:
	// no packet is lost while any member has room.
	for _, again := range [...]bool{false, true} {
		for k := range n {
			next := first + k
			if next >= n {
				next -= n
			}
			s := members[next]
			if s == skip || !again && s.rolloverState.pressure.Load() || s.noteHeadroom(size) != headroomNormal {
				continue
			}
			if k > 0 {
				ro.next.Store(next)
			}
			ro.all.Add(1)
			if own == headroomLow {
				ro.huge.Add(1)
			}
			return next
		}
	}
	ro.failed.Add(1)
	return i
}

// isHuge reports whether most recent packets belong to this packet's flow, and records the
// packet in place of a random one (fanout_flow_is_huge).
func (r *rolloverState) isHuge(p *Packet, meta *packetMeta) bool {
	hash := p.Hash
	if hash == 0 {
		hash = flowHash(p, meta)
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

// flowSeed is drawn anew in each process, as Linux draws one at boot: flows that all hash to
// one member cannot be prepared.
var flowSeed = maphash.MakeSeed()

// flowHash is the same for all packets of a flow, both ways: what Linux's
// __skb_get_hash_symmetric is (net/core/flow_dissector.c), with other values.
func flowHash(p *Packet, meta *packetMeta) uint32 {
	if head := p.Data[min(int(meta.maclen), len(p.Data)):]; meta.protocol == tpacket.ETHPIP && len(head) >= ipv4Header+4 && head[0]&15 == ipv4Header/4 {
		const fragment = 0x3fff // more fragments, or an offset
		transport := head[9]
		if (transport == protoTCP || transport == protoUDP) && binary.BigEndian.Uint16(head[6:])&fragment == 0 {
			return hashIPv4(head, transport)
		}
	}
	return hashWalked(p, meta)
}

// IP protocols (linux/in.h).
const (
	protoTCP = 6
	protoUDP = 17
)

// hashIPv4 is hashWalked for the common case: an IPv4 header without options, and ports behind it.
func hashIPv4(head []byte, transport uint8) uint32 {
	src, dst := binary.BigEndian.Uint32(head[12:]), binary.BigEndian.Uint32(head[16:])
	low, high := binary.BigEndian.Uint16(head[ipv4Header:]), binary.BigEndian.Uint16(head[ipv4Header+2:])
	var key [16]byte
	binary.LittleEndian.PutUint64(key[:], flowWord(low, high, tpacket.ETHPIP, transport))
	binary.BigEndian.PutUint32(key[8:], min(src, dst))
	binary.BigEndian.PutUint32(key[12:], max(src, dst))
	return uint32(maphash.Bytes(flowSeed, key[:]))
}

// hashWalked is flowHash for packets of all kinds.
//
//go:noinline
func hashWalked(p *Packet, meta *packetMeta) uint32 {
	var f dissect.Flow
	dissect.Walk(&dissect.Packet{
		Data: p.Data, Rest: p.Rest, NetOff: int(meta.maclen), Protocol: meta.protocol, Tagged: p.VLAN.TPID != 0,
	}, &f)
	src, dst := f.Src[:f.AddrLen], f.Dst[:f.AddrLen]
	if bytes.Compare(src, dst) > 0 {
		src, dst = dst, src
	}
	var key [40]byte
	binary.LittleEndian.PutUint64(key[:], flowWord(uint16(f.Ports>>16), uint16(f.Ports), f.Ether, f.Transport))
	n := 8
	n += copy(key[n:], src)
	n += copy(key[n:], dst)
	return uint32(maphash.Bytes(flowSeed, key[:n]))
}

// flowWord is the part of a flow's key that is not its addresses. Addresses and ports are in an
// order of their own each, as in Linux: A's port 1 to B's port 2 is the same flow as A's port 2 to
// B's port 1.
func flowWord(src, dst, ether uint16, transport uint8) uint64 {
	return uint64(min(src, dst)) | uint64(max(src, dst))<<16 | uint64(ether)<<32 | uint64(transport)<<48
}

package rxring

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
)

// Grant is what a namespace's owner lets a socket see and do that somebody else
// uses. The zero value grants everything. A socket with a Grant, even that one,
// has no CAP_NET_ADMIN: SO_RCVBUFFORCE and SO_SNDBUFFORCE are EPERM.
//
// It bounds packets, not what is known of them: their true length and time, what a
// sockaddr_ll, a tag beside the frame and a vnet header say, and the ancillary
// data that filters load are there for each packet that the socket gets.
type Grant struct {
	// Devices says which devices the socket sees; nil: all. Others are not there:
	// ENODEV, and a socket bound to all devices gets nothing from them. It is asked
	// when a device is added and when the grant is made, must say the same each
	// time, and must call no methods of the namespace or of its sockets.
	Devices func(*Device) bool

	// Filter is run before the socket's own filter, which it cannot widen: packets
	// must pass both. nil: none. On sockets of either type its offsets count from
	// the link-layer header on, it sees all of the packet, and a VLAN tag wherever
	// one was. Of what it returns the socket gets no more, as with Snaplen. What it
	// refuses was never offered to the socket: no count tells of it.
	//
	// On a raw-IP device they count from the network header on, as there is no other:
	// for devices of several types a filter must tell them apart (SKF_AD_HATYPE).
	Filter []cbpf.Instruction

	// Snaplen is how many bytes of each packet there are for the socket, counted from
	// the link-layer header on; 0: all. No filter of the socket's sees further. The
	// flow hash of a packet that was cut is that of what is left of it.
	Snaplen int

	NoSend bool // the socket may not send: EPERM, for transmit rings, too

	// NoPromiscuous has memberships that make a card take packets to others succeed without
	// effect: PACKET_MR_PROMISC, and addresses that are no group's. The device does not count
	// them.
	NoPromiscuous bool

	// Budget bounds the memory of all sockets that have it; nil: none but the
	// namespace's.
	Budget *Budget

	// Account bounds the work that all sockets that have it make for others; nil: nothing
	// bounds it.
	Account *Account

	// Scope parts fanout groups: a socket joins only those of its own scope. Sockets
	// without a grant are in scope 0.
	Scope uint32
}

// granted is a grant, checked. nil is no grant: it grants everything.
type granted struct {
	Grant
	filter  *cbpf.Filter            // of Filter
	snaplen uint32                  // MaxUint32: all
	devices atomic.Pointer[[]int32] // indexes of those that Devices is for, in order; nil: all. Namespace.mu is held to write it
}

func newGranted(g *Grant) (*granted, error) {
	if g == nil {
		return nil, nil
	}
	out := &granted{Grant: *g, snaplen: math.MaxUint32}
	if g.Devices != nil {
		out.devices.Store(new([]int32)) // none until look
	}
	switch {
	case g.Snaplen < 0:
		return nil, explain.Errorf(syscall.EINVAL, "snaplen %d: want at least 0", g.Snaplen)
	case g.Snaplen > 0:
		out.snaplen = uint32(min(g.Snaplen, math.MaxUint32))
	}
	if g.Filter != nil {
		var err error
		if out.filter, err = cbpf.Compile(g.Filter); err != nil {
			return nil, fmt.Errorf("mandatory filter: %w", err)
		}
		out.Filter = slices.Clone(g.Filter)
	}
	return out, nil
}

// resolveDevicesLocked asks which of the devices the grant is for. Namespace.mu is held.
func (g *granted) resolveDevicesLocked(devices []*Device) {
	if g == nil || g.Devices == nil {
		return
	}
	seen := []int32{}
	for _, d := range devices {
		if g.Devices(d) {
			seen = append(seen, int32(d.index))
		}
	}
	g.devices.Store(&seen)
}

// allowsDevice says whether the device of that index is there.
func (g *granted) allowsDevice(index int32) bool {
	if g == nil {
		return true
	}
	seen := g.devices.Load()
	if seen == nil {
		return true
	}
	_, ok := slices.BinarySearch(*seen, index)
	return ok
}

// limitsBytes says whether there are bytes that the socket may not see.
func (g *granted) limitsBytes() bool { return g != nil && (g.Filter != nil || g.Snaplen > 0) }

// limitsDelivery says whether there are packets, or bytes of them, that the socket may not
// see: otherwise it receives like any other.
func (g *granted) limitsDelivery() bool { return g.limitsBytes() || g != nil && g.Devices != nil }

// visibleBytes is how many bytes of the packet, link-layer header included, there are for
// the socket; 0: it gets nothing of it.
func (g *granted) visibleBytes(p *Packet, meta *packetMeta) (seen uint32) {
	if !g.allowsDevice(meta.from.Ifindex) {
		return 0 // revoked while the packet was under way
	}
	seen = min(meta.capLen, g.snaplen)
	if g.filter == nil {
		return seen
	}
	if meta.strippedVLAN.TPID == 0 {
		return min(seen, meta.runFilter(g.filter, p, 0))
	}
	q := *p
	q.VLAN = meta.strippedVLAN
	return min(seen, meta.runFilter(g.filter, &q, 0))
}

// truncated is what a grant leaves of a packet.
type truncated struct {
	packet  Packet // without its Rest
	arrival packetMeta
	rest    [16][]byte // in place of it: a place to point to that is no allocation
	pieces  int
}

// truncate leaves n bytes of the packet, of which skip at least belong to a link-layer
// header. The arrival goes on to tell the true length.
func truncate(p *Packet, meta *packetMeta, n, skip uint32) (v truncated) {
	v.packet, v.arrival = *p, *meta
	v.packet.Rest = nil
	if n < meta.capLen {
		v.arrival.capLen = max(n, skip)
		v.packet.Hash = 0 // of more than is left
	}
	v.packet.Data = p.Data[:min(int(n), len(p.Data))]
	left := int(n) - len(v.packet.Data)
	for i, piece := range p.Rest {
		if left == 0 {
			break
		}
		if v.pieces == len(v.rest)-1 {
			piece = concat(piece, p.Rest[i+1:])
		}
		piece = piece[:min(left, len(piece))]
		v.rest[v.pieces] = piece
		v.pieces++
		left -= len(piece)
	}
	return v
}

// receiveGranted is take for a socket that somebody else uses: what it may not see is cut off
// before anything looks at the packet.
//
//go:noinline
func (s *Socket) receiveGranted(rx *rxOptions, p *Packet, meta *packetMeta) {
	if rx.grant == nil {
		s.receiveMetered(rx, p, meta)
		return
	}
	seen := rx.grant.visibleBytes(p, meta)
	if seen == 0 {
		return
	}
	v := truncate(p, meta, seen, rx.skipLen(meta))
	v.packet.Rest = v.rest[:v.pieces]
	if rx.account == nil {
		s.receiveOne(rx.unrestricted, &v.packet, &v.arrival)
	} else {
		s.receiveMetered(rx, &v.packet, &v.arrival)
	}
	meta.timestamp = v.arrival.timestamp // one reading for all sockets
}

// receiveBatchGranted is receiveBatch for a socket that somebody else uses. Where its grant
// hides anything, it gets the packets one by one.
func (s *Socket) receiveBatchGranted(rx *rxOptions, ps []Packet, metas []packetMeta, mask batchMask) {
	if rx.grant == nil {
		s.receiveBatchMetered(rx, ps, metas, mask)
		return
	}
	for i := range ps {
		if mask&(1<<i) != 0 && metas[i].length != 0 && s.wants(&ps[i], &metas[i]) {
			s.receiveGranted(rx, &ps[i], &metas[i])
		}
	}
}

// SocketFor is Socket for somebody who gets what g says; nil: Socket. EINVAL for a
// Filter that Linux would refuse, or a negative Snaplen.
func (ns *Namespace) SocketFor(g *Grant, t SockType, protocol uint16) (*Socket, error) {
	if t != SockRaw && t != SockDgram {
		return nil, explain.Errorf(syscall.Errno(esocktnosupport), "socket type %d: want SOCK_RAW (%d) or SOCK_DGRAM (%d)", t, SockRaw, SockDgram)
	}
	gr, err := newGranted(g)
	if err != nil {
		return nil, err
	}
	s := &Socket{ns: ns, typ: t, grant: gr, flags: make(map[option]int32)}
	s.queue.limit.Store(rcvbufDefault)
	s.rx.Store(&rxOptions{})
	s.publishLocked()
	s.protocol.Store(uint32(protocol))
	if protocol != 0 {
		ns.mark(0)
	}
	ns.addSocket(s)
	return s, nil
}

// SetGrant replaces what the socket is granted, for every packet that is delivered
// from now on; nil grants everything. It fails as SocketFor does, and changes
// nothing then.
//
// A device that is no longer granted is to the socket as one that was removed: its
// memberships there are gone, and if it is bound to it, it is bound to index -1,
// with ENETDOWN pending. A socket stays in the fanout group that it is in. Its own
// filter, packets that it has already, and its rings stay, with the budgets that
// their memory was taken from, whether the new grant would give them or not.
func (s *Socket) SetGrant(g *Grant) error {
	gr, err := newGranted(g)
	return s.do("set grant", func() error {
		if err != nil {
			return err
		}
		s.setGrantLocked(gr)
		return nil
	})
}

// setGrantLocked replaces the socket's grant with g.
func (s *Socket) setGrantLocked(g *granted) {
	ns := s.ns
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	g.resolveDevicesLocked(ns.devices)
	if s.group != nil && s.running {
		s.group.countGrantLocked(s.grant, -1)
		s.group.countGrantLocked(g, 1)
	}
	s.grant = g
	s.publishLocked() // before devices are hooked: none delivers by what was granted before
	for _, d := range ns.devices {
		if !g.allowsDevice(int32(d.index)) {
			ns.flushMembershipsLocked(s, d)
		}
	}
	for i := range s.memberships {
		if j := &s.memberships[i]; j.setCountedLocked(g.allowsMembership(&j.membership)) {
			j.device.publishRxFilterLocked()
		}
	}
	if d := s.device; d != nil && !g.allowsDevice(int32(d.index)) {
		if s.running {
			ns.setRunningLocked(s, false)
			s.setError(syscall.ENETDOWN)
		}
		s.setDeviceLocked(nil)
		s.ifindex.Store(-1)
	}
	if s.group != nil {
		s.group.publishGrantLocked()
	}
	ns.rebuildTapsLocked()
}

// needsNetAdmin is for options that take CAP_NET_ADMIN.
func needsNetAdmin(check func(*Socket, int32) (int32, error)) func(*Socket, int32) (int32, error) {
	return func(s *Socket, v int32) (int32, error) {
		if s.grant != nil {
			return 0, explain.Errorf(syscall.EPERM, "%d: only who owns the namespace may force a size", v)
		}
		return check(s, v)
	}
}

var errNoSend = explain.Errorf(syscall.EPERM, "the socket was not granted to send")

// allowsMembership says whether the membership counts at the device.
func (g *granted) allowsMembership(m *membership) bool {
	if g == nil || !g.NoPromiscuous {
		return true
	}
	return m.typ == mrAllmulti || m.typ != mrPromisc && m.addr[0]&1 != 0
}

// account is what the sockets of the grant's user share, nil: nothing.
func (g *granted) account() *Account {
	if g == nil {
		return nil
	}
	return g.Account
}

// budgetLocked is what the socket's memory is taken from, nil: nobody's. s.mu is held.
func (s *Socket) budgetLocked() *Budget {
	if s.grant == nil {
		return nil
	}
	return s.grant.Budget
}

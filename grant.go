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

// look asks which of the devices the grant is for. Namespace.mu is held.
func (g *granted) look(devices []*Device) {
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

// sees says whether the device of that index is there.
func (g *granted) sees(index int32) bool {
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

// restricts says whether there are bytes that the socket may not see.
func (g *granted) restricts() bool { return g != nil && (g.Filter != nil || g.Snaplen > 0) }

// bounds says whether there are packets, or bytes of them, that the socket may not
// see: otherwise it receives like any other.
func (g *granted) bounds() bool { return g.restricts() || g != nil && g.Devices != nil }

// judge is how many bytes of the packet, link-layer header included, there are for
// the socket; 0: it gets nothing of it.
func (g *granted) judge(p *Packet, a *arrival) (seen uint32) {
	if !g.sees(a.from.Ifindex) {
		return 0 // revoked while the packet was under way
	}
	seen = min(a.seen, g.snaplen)
	if g.filter == nil {
		return seen
	}
	if a.hidden.TPID == 0 {
		return min(seen, a.filter(g.filter, p, 0))
	}
	q := *p
	q.VLAN = a.hidden
	return min(seen, a.filter(g.filter, &q, 0))
}

// view is what a grant leaves of a packet.
type view struct {
	packet  Packet // without its Rest
	arrival arrival
	rest    [16][]byte // in place of it: a place to point to that is no allocation
	pieces  int
}

// limit leaves n bytes of the packet, of which skip at least belong to a link-layer
// header. The arrival goes on to tell the true length.
func limit(p *Packet, a *arrival, n, skip uint32) (v view) {
	v.packet, v.arrival = *p, *a
	v.packet.Rest = nil
	if n < a.seen {
		v.arrival.seen = max(n, skip)
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

// takeForAnother is take for a socket that somebody else uses: what it may not see is cut off
// before anything looks at the packet.
//
//go:noinline
func (s *Socket) takeForAnother(rx *receiver, p *Packet, a *arrival) {
	if rx.grant == nil {
		s.takeMetered(rx, p, a)
		return
	}
	seen := rx.grant.judge(p, a)
	if seen == 0 {
		return
	}
	v := limit(p, a, seen, rx.skip(a))
	v.packet.Rest = v.rest[:v.pieces]
	if rx.account == nil {
		s.take(rx.own, &v.packet, &v.arrival)
	} else {
		s.takeMetered(rx, &v.packet, &v.arrival)
	}
	a.timestamp = v.arrival.timestamp // one reading for all sockets
}

// receiveBatchForAnother is receiveBatch for a socket that somebody else uses. Where its grant
// hides anything, it gets the packets one by one.
func (s *Socket) receiveBatchForAnother(rx *receiver, ps []Packet, as []arrival, mask batchMask) {
	if rx.grant == nil {
		s.receiveBatchMetered(rx, ps, as, mask)
		return
	}
	for i := range ps {
		if mask&(1<<i) != 0 && as[i].length != 0 && s.wants(&ps[i], &as[i]) {
			s.takeForAnother(rx, &ps[i], &as[i])
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
	s.rx.Store(&receiver{})
	s.publish()
	s.protocol.Store(uint32(protocol))
	if protocol != 0 {
		ns.mark(0)
	}
	ns.enter(s)
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
		s.ns.regrant(s, gr)
		return nil
	})
}

// regrant gives s the grant g. s.mu is held.
func (ns *Namespace) regrant(s *Socket, g *granted) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	g.look(ns.devices)
	if s.group != nil && s.hooked {
		s.group.count(s.grant, -1)
		s.group.count(g, 1)
	}
	s.grant = g
	s.publish() // before devices are hooked: none delivers by what was granted before
	for _, d := range ns.devices {
		if !g.sees(int32(d.index)) {
			ns.flushMemberships(s, d)
		}
	}
	for i := range s.memberships {
		if j := &s.memberships[i]; j.hear(g.mayHave(&j.membership)) {
			j.device.hear()
		}
	}
	if d := s.device; d != nil && !g.sees(int32(d.index)) {
		if s.hooked {
			ns.setHooked(s, false)
			s.fail(syscall.ENETDOWN)
		}
		s.setDevice(nil)
		s.ifindex.Store(-1)
	}
	if s.group != nil {
		s.group.regrant()
	}
	ns.hook()
}

// forced is for options that take CAP_NET_ADMIN.
func forced(check func(*Socket, int32) (int32, error)) func(*Socket, int32) (int32, error) {
	return func(s *Socket, v int32) (int32, error) {
		if s.grant != nil {
			return 0, explain.Errorf(syscall.EPERM, "%d: only who owns the namespace may force a size", v)
		}
		return check(s, v)
	}
}

var errNoSend = explain.Errorf(syscall.EPERM, "the socket was not granted to send")

// mayHave says whether the membership counts at the device.
func (g *granted) mayHave(m *membership) bool {
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

// budget is what the socket's memory is taken from, nil: nobody's. s.mu is held.
func (s *Socket) budget() *Budget {
	if s.grant == nil {
		return nil
	}
	return s.grant.Budget
}

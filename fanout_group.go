package rxring

import (
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/defrag"
	"github.com/rxring/rxring/internal/explain"
)

// group is a fanout group: sockets that share what one of them would see. It
// mirrors struct packet_fanout (net/packet/internal.h).
//
// It has one place among the taps of its devices, as long as a member is linked:
// bound to a device that is up.
type group struct {
	key      groupKey
	config   FanoutConfig
	protocol uint16 // host byte order
	device   *Device
	ifindex  int // 0: every device
	sockets  int // members, linked or not; guarded by Namespace.mu
	grants   int // members with a grant; guarded by Namespace.mu

	// Read by writers for every packet.
	members    atomic.Pointer[[]*Socket]   // never nil; a published slice does not change
	nextMember atomic.Uint32               // packets so far, with FanoutLB
	program    atomic.Pointer[cbpf.Filter] // written with Namespace.mu held
	grant      atomic.Pointer[granted]     // the first member's, nil: unlimited; pairs with the store in publishGrantLocked
	account    atomic.Pointer[Account]     // the first member's, nil: none; pairs with the store in publishGrantLocked
	meter      *meter                      // used if there is an Account
	defrag     *defrag.Table[fragmentMeta] // nil: without FanoutFlagDefrag

	defragCharge, programCharge Charge // guarded by Namespace.mu
}

// newGroup creates a group whose first member s will be.
func newGroup(c FanoutConfig, s *Socket) *group {
	g := &group{
		config:   c,
		protocol: uint16(s.protocol.Load()),
		device:   s.device,
		meter:    new(meter),
	}
	if g.device != nil {
		g.ifindex = g.device.index
	}
	g.members.Store(new([]*Socket))
	if c.Flags&FanoutFlagDefrag != 0 {
		g.defrag = defrag.New[fragmentMeta]()
	}
	return g
}

// checkJoinLocked returns why s cannot join g with c, nil if it can.
func (g *group) checkJoinLocked(s *Socket, c FanoutConfig) error {
	protocol := uint16(s.protocol.Load())
	switch {
	case c.Mode != g.config.Mode || c.Flags != g.config.Flags:
		return fmt.Errorf("fanout group %d: mode %d, flags %#x: it has mode %d, flags %#x: %w",
			c.ID, c.Mode, c.Flags, g.config.Mode, g.config.Flags, syscall.EINVAL)
	case c.MaxMembers != 0 && c.MaxMembers != g.config.MaxMembers:
		return explain.Errorf(syscall.EINVAL, "fanout group %d: at most %d members: it takes %d", c.ID, c.MaxMembers, g.config.MaxMembers)
	case protocol == 0:
		return explain.Errorf(syscall.EINVAL, "the socket has no protocol, bind it first")
	case protocol != g.protocol:
		return explain.Errorf(syscall.EINVAL, "fanout group %d: protocol %#x: it has %#x", c.ID, protocol, g.protocol)
	case s.device != g.device:
		return explain.Errorf(syscall.EINVAL, "fanout group %d: device index %d: it has %d", c.ID, s.ifindex.Load(), g.ifindex)
	case uint32(g.sockets) >= g.config.MaxMembers:
		return explain.Errorf(syscall.ENOSPC, "fanout group %d: it has all %d members that it takes", c.ID, g.config.MaxMembers)
	}
	return nil
}

// linkLocked adds s to g's members (__fanout_link). The group takes the place of the tap old; the
// zero tap: there is none.
func (ns *Namespace) linkLocked(g *group, s *Socket, old tap) {
	members := append(*g.members.Load(), s) // appends past the published slice, which does not change
	g.countGrantLocked(s.grant, 1)
	g.members.Store(&members) // pairs with the writers' loads of group.members
	g.publishGrantLocked()
	ns.updateTapLocked(old, tap{group: g}, true)
}

// relink makes s the last of its group's members: in Linux it is none while its
// ring is exchanged. Other sockets' places among the taps are not to be seen.
func (ns *Namespace) relink(s *Socket) {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	if s.group != nil && s.running && len(*s.group.members.Load()) > 1 {
		ns.unlinkLocked(s.group, s)
		ns.linkLocked(s.group, s, tap{})
	}
}

// unlinkLocked takes s from g's members. The last member gets its number
// (__fanout_unlink).
func (ns *Namespace) unlinkLocked(g *group, s *Socket) {
	members := slices.Clone(*g.members.Load())
	last := len(members) - 1
	members[slices.Index(members, s)] = members[last]
	members[last] = nil
	members = members[:last:last]
	g.countGrantLocked(s.grant, -1)
	g.members.Store(&members)
	g.publishGrantLocked()
	ns.updateTapLocked(tap{}, tap{group: g}, last > 0)
}

// wants reports whether the group is offered the packet: whether Linux would call its hook.
func (g *group) wants(p *Packet, meta *packetMeta) bool {
	return matchesProtocol(g.protocol, p, meta) && !(p.Outgoing && g.config.Flags&FanoutFlagIgnoreOutgoing != 0)
}

// deliver delivers the packet to one member (packet_rcv_fanout). It returns the member whose
// reader the caller wakes, with a full barrier before; nil: none.
func (g *group) deliver(p *Packet, meta *packetMeta) (due *Socket) {
	if !g.wants(p, meta) {
		return nil
	}
	of := g.account.Load()
	if of == nil && g.defrag == nil && g.grant.Load() == nil { // most groups
		members := *g.members.Load() // pairs with the stores in linkLocked and unlinkLocked
		if len(members) == 0 {
			return nil
		}
		s := members[g.choose(members, p, meta)]
		if s.receiveQuietly(s.rx.Load(), p, meta) { // pairs with the store in Socket.publishLocked
			return s
		}
		return nil
	}
	if of != nil {
		g.deliverMetered(of, p, meta)
	} else {
		g.deliverUnmetered(p, meta)
	}
	return nil
}

// deliverUnmetered is deliver for a packet that the group wants, without accounting.
func (g *group) deliverUnmetered(p *Packet, meta *packetMeta) {
	if g.defrag != nil {
		if gr := g.grant.Load(); gr != nil && gr.visibleBytes(p, meta) == 0 {
			return // before it could become part of another packet
		}
		if f, ok := fragment(p, meta); ok {
			g.deliverFragment(f, p, meta)
			return
		}
	}
	g.deliverToMember(p, meta)
}

// deliverToMember chooses a member for a packet that needs no reassembly, and delivers it.
func (g *group) deliverToMember(p *Packet, meta *packetMeta) {
	members := *g.members.Load() // pairs with the stores in linkLocked and unlinkLocked
	if gr := g.grant.Load(); gr != nil {
		g.deliverTruncated(gr, members, p, meta)
	} else if len(members) > 0 {
		members[g.choose(members, p, meta)].receive(p, meta)
	}
}

// deliverBatch is deliver for several packets.
func (g *group) deliverBatch(b *measuredBatch) {
	members := *g.members.Load() // pairs with the stores in linkLocked and unlinkLocked
	if len(members) == 0 {
		return
	}
	// A member's room depends on the packets before; and a fragment may complete a
	// packet that is not in the batch.
	if g.usesRollover() || g.defrag != nil || g.grant.Load() != nil {
		for i := range b.packets {
			if b.metas[i].length > 0 {
				tap{group: g}.receive(&b.packets[i], &b.metas[i])
			}
		}
	} else if of := g.account.Load(); of != nil {
		g.deliverBatchMetered(of, members, b)
	} else {
		g.deliverBatchUnmetered(members, b)
	}
}

// deliverBatchUnmetered chooses a member for each packet of a batch by itself. Those for one member take
// their slots together.
func (g *group) deliverBatchUnmetered(members []*Socket, b *measuredBatch) {
	var (
		chosen [maxBatch]*Socket
		left   batchMask
	)
	for i := range b.packets {
		if p, meta := &b.packets[i], &b.metas[i]; meta.length > 0 && g.wants(p, meta) {
			chosen[i] = members[g.choose(members, p, meta)]
			left |= 1 << i
		}
	}
	for left != 0 {
		s := chosen[left.first()]
		var mine batchMask
		for rest := left; rest != 0; rest = rest.rest() {
			if i := rest.first(); chosen[i] == s {
				mine |= 1 << i
			}
		}
		s.receiveBatch(b, mine)
		left &^= mine
	}
}

// groupKey names a fanout group.
type groupKey struct {
	scope uint32 // see Grant.Scope
	id    uint16
}

// joinLocked is fanout_add.
func (s *Socket) joinLocked(c FanoutConfig) error {
	ns := s.ns
	if err := c.check(); err != nil {
		return err
	}
	if s.group != nil {
		return explain.Errorf(syscall.EALREADY, "the socket is in fanout group %d: it can leave only by being closed", s.group.config.ID)
	}
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	if c.Flags&FanoutFlagUniqueID != 0 {
		if c.ID != 0 {
			return explain.Errorf(syscall.EINVAL, "fanout id %d: want 0 with the unique-id flag", c.ID)
		}
		id, ok := ns.freeGroupIDLocked(s.scopeLocked())
		if !ok {
			return explain.Errorf(syscall.ENOMEM, "all fanout ids are taken")
		}
		c.ID = id
		c.Flags &^= FanoutFlagUniqueID // the group's first socket asked for it, others join by id
	}
	key := groupKey{s.scopeLocked(), c.ID}
	g := ns.groups[key]
	if g == nil {
		if c.MaxMembers > fanoutMax {
			return explain.Errorf(syscall.EINVAL, "fanout group of at most %d members: want at most %d", c.MaxMembers, fanoutMax)
		}
		if c.MaxMembers == 0 {
			c.MaxMembers = fanoutMaxDefault
		}
		g = newGroup(c, s)
		g.key = key
	}
	if err := g.checkJoinLocked(s, c); err != nil {
		return err
	}
	if g.defrag != nil && g.sockets == 0 {
		if err := g.defragCharge.Replace(s.budgetLocked(), defrag.MaxBytes); err != nil {
			return fmt.Errorf("fanout group that holds fragments: %w", err)
		}
	}
	ns.groups[key] = g
	g.sockets++
	if g.usesRollover() {
		s.rolloverState = new(rolloverState)
	}
	s.group = g
	s.publishLocked()
	if s.running {
		ns.linkLocked(g, s, tap{socket: s})
	}
	return nil
}

// scopeLocked returns the scope of the socket's fanout group.
func (s *Socket) scopeLocked() uint32 {
	if s.grant == nil {
		return 0
	}
	return s.grant.Scope
}

// freeGroupIDLocked is fanout_find_new_id: ids are given in turn, in each scope by
// itself.
func (ns *Namespace) freeGroupIDLocked(scope uint32) (id uint16, ok bool) {
	for range 1 << 16 {
		id = ns.nextGroup[scope]
		ns.nextGroup[scope]++
		if ns.groups[groupKey{scope, id}] == nil {
			return id, true
		}
	}
	return 0, false
}

// leaveFanoutLocked ends the socket's membership of its group, and with the last member
// the group. The socket is no longer linked.
func (s *Socket) leaveFanoutLocked() {
	ns := s.ns
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	if g := s.group; g != nil {
		s.group = nil
		if g.sockets--; g.sockets == 0 {
			delete(ns.groups, g.key)
			g.defragCharge.Release()
			g.programCharge.Release()
		}
	}
}

// allowsDeviceLocked reports whether all members are granted d.
//
// Each member applies its own grant to the packets that it receives. The choice of a member
// must not reveal hidden bytes either: the group chooses among the packets that its first
// member is granted, by the bytes that are visible to it. Members of a group share a scope,
// and so belong to one user.
func (g *group) allowsDeviceLocked(d *Device) bool {
	if g.grants == 0 {
		return true
	}
	for _, s := range *g.members.Load() {
		if !s.grant.allowsDevice(int32(d.index)) {
			return false
		}
	}
	return true
}

// countGrantLocked adds by to the number of members with a grant, if gr is one.
func (g *group) countGrantLocked(gr *granted, by int) {
	if gr != nil {
		g.grants += by
	}
}

// publishGrantLocked publishes the grant and account of the first member.
func (g *group) publishGrantLocked() {
	var (
		gr *granted
		of *Account
	)
	if members := *g.members.Load(); len(members) > 0 {
		of = members[0].grant.account()
		if members[0].grant.limitsDelivery() {
			gr = members[0].grant
		}
	}
	g.grant.Store(gr)
	g.account.Store(of)
}

// deliverTruncated is deliverToMember for a group whose first member has the grant gr.
//
//go:noinline
func (g *group) deliverTruncated(gr *granted, members []*Socket, p *Packet, meta *packetMeta) {
	seen := gr.visibleBytes(p, meta)
	if seen == 0 || len(members) == 0 {
		return
	}
	chosen := uint32(0)
	if seen == meta.capLen {
		chosen = g.choose(members, p, meta)
	} else {
		q, m := *p, *meta
		truncate(&q, &m, seen, 0)
		rest := truncatePieces(p.Rest, int(seen)-len(q.Data))
		q.Rest = rest.array[:rest.n]
		chosen = g.choose(members, &q, &m)
	}
	members[chosen].receive(p, meta)
}

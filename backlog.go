package rxring

import (
	"slices"

	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Backlog is implemented by a source that has received packets and not yet delivered
// them, for instance those in a ring of the kernel. Its methods may be called
// concurrently. Calls of sockets call them with no lock held, so they must not wait for
// long, and must not call methods of sockets.
type Backlog interface {
	// ReportLost calls Device.Lost with the number of packets lost since the last call. It
	// is called before counts are read, and before a socket leaves the device.
	ReportLost()

	// Mark does what ReportLost does, and records that the packets now in the backlog
	// were received at [Device.Moment]. The source must determine how many there are
	// before it calls Moment, and deliver them by DeliverBatchAt. Mark is called before a
	// socket is bound: a socket gets no packet that was received before its bind.
	Mark()

	// Flush returns when the packets now in the backlog have been delivered. Its wait must
	// be bounded: left is the number of packets that were not delivered in time. It is
	// called after Mark, before a socket that receives the device's packets is bound
	// elsewhere or joins a fanout group: earlier packets are delivered by the old
	// binding.
	Flush() (left uint64)
}

// Moment is a point in the order in which a namespace's sockets were bound.
type Moment uint64

// Moment returns the present one.
func (d *Device) Moment() Moment { return Moment(d.ns.moment.Load()) }

// SetBacklog sets the device's backlog. Calls of the previous one may still be in progress.
// nil, the initial value, means that packets are delivered as they arrive.
func (d *Device) SetBacklog(b Backlog) {
	d.ns.mu.Lock()
	defer d.ns.mu.UnlockAndNotify()
	d.backlog = b
	if b != nil && d.ns.devices.has(d) {
		d.ns.backlogged[d] = struct{}{}
	} else {
		delete(d.ns.backlogged, d)
	}
}

// backlogs returns the backlogs of the device with index ifindex, of all devices if it is 0.
func (ns *Namespace) backlogs(ifindex int32) (all []Backlog) {
	ns.mu.Lock()
	defer ns.mu.UnlockAndNotify()
	if ifindex != 0 {
		if d, ok := ns.devices.byIndex[int(ifindex)]; ok && d.backlog != nil {
			all = append(all, d.backlog)
		}
		return all
	}
	for d := range ns.backlogged {
		all = append(all, d.backlog)
	}
	return all
}

// reportLost has sources report what was lost for the socket until now. It must be called
// without locks held.
func (s *Socket) reportLost() {
	for _, b := range s.ns.backlogs(s.ifindex.Load()) {
		b.ReportLost()
	}
}

// mark is called before a socket is bound to ifindex, without locks held.
func (ns *Namespace) mark(ifindex int32) {
	for _, b := range ns.backlogs(ifindex) {
		b.Mark()
	}
}

// flush has sources deliver the socket's packets received until now, and returns how many they
// have not delivered. It must be called without locks held.
func (s *Socket) flush() (left uint64) {
	for _, b := range s.ns.backlogs(s.ifindex.Load()) {
		left += b.Flush()
	}
	return left
}

// isRunning reports whether devices deliver to the socket. It must be called without locks
// held.
func (s *Socket) isRunning() bool {
	s.ns.mu.Lock()
	defer s.ns.mu.UnlockAndNotify()
	return s.running
}

// changes reports whether the address names another binding than the socket has.
func (s *Socket) changes(a tpacket.SockaddrLL) bool {
	protocol := tpacket.Htons(a.Protocol)
	return a.Ifindex != s.ifindex.Load() || protocol != 0 && protocol != uint16(s.protocol.Load())
}

// stampBindLocked records that s is bound now, before devices deliver to it.
func (ns *Namespace) stampBindLocked(s *Socket) { s.boundSince.Store(ns.moment.Add(1)) }

// boundAt says whether the socket's binding is from at or before.
func (s *Socket) boundAt(at Moment) bool { return Moment(s.boundSince.Load()) <= at }

// DeliverBatchAt is DeliverBatch for packets that arrived at an earlier moment: sockets bound
// since do not get them.
func (d *Device) DeliverBatchAt(at Moment, ps []Packet) {
	taps := d.taps.Load()
	if taps == nil {
		return
	}
	var room [stackTaps]tap
	if then := appendBound(room[:0], *taps, at); len(then) > 0 {
		d.deliverInBatches(ps, then)
	}
}

// stackTaps is for how many taps DeliverBatchAt and DeliverBatchTo need no allocation.
const stackTaps = 16

// appendBound appends those of taps to list that were bound at or before a moment.
func appendBound(list, taps []tap, at Moment) []tap {
	for _, t := range taps {
		if t, ok := t.boundAt(at); ok {
			list = append(list, t)
		}
	}
	return list
}

// boundAt is the tap as it was at a moment; ok is false if it was not yet there.
func (t tap) boundAt(at Moment) (then tap, ok bool) {
	if t.group != nil {
		g := t.group.at(at)
		return tap{group: g}, g != nil
	}
	return t, t.socket.boundAt(at)
}

// at is the group as if members that were bound after at had not joined it, nil if
// none is left.
func (g *group) at(at Moment) *group {
	members := *g.members.Load() // pairs with the stores in linkLocked and unlinkLocked
	after := func(s *Socket) bool { return !s.boundAt(at) }
	if !slices.ContainsFunc(members, after) {
		return g
	}
	then := slices.DeleteFunc(slices.Clone(members), after)
	if len(then) == 0 {
		return nil
	}
	old := &group{config: g.config, protocol: g.protocol, defrag: g.defrag, meter: g.meter}
	old.members.Store(&then)
	old.nextMember.Store(g.nextMember.Add(1))
	old.program.Store(g.program.Load())
	old.grant.Store(g.grant.Load())
	old.account.Store(g.account.Load())
	return old
}

// Receiver is a socket, or a fanout group of sockets, to which a device delivers. A
// source that can hold packets back delivers to each receiver when that has room, so
// that a slow one delays no other. Receivers of the same socket or group are equal.
type Receiver struct{ tap tap }

// Receivers appends the device's receivers to list.
func (d *Device) Receivers(list []Receiver) []Receiver {
	if taps := d.taps.Load(); taps != nil {
		for _, t := range *taps {
			list = append(list, Receiver{t})
		}
	}
	return list
}

// RoomFor is [Socket.RoomFor] of the receiver's socket. It is n for a socket without a known
// descriptor ([Socket.SetHeld]), and for a group of several sockets: none of them waits for
// another.
func (r Receiver) RoomFor(n int) int {
	if s := r.alone(); s != nil {
		return s.RoomFor(n)
	}
	return n
}

// HasRoom is [Socket.HasRoom], and true where RoomFor is n in any case.
func (r Receiver) HasRoom(n int) bool {
	s := r.alone()
	return s == nil || s.HasRoom(n)
}

// alone returns the receiver's socket, nil if it has several or the one has no known
// descriptor.
func (r Receiver) alone() *Socket {
	s := r.tap.socket
	if s == nil {
		members := *r.tap.group.members.Load() // pairs with the stores in linkLocked and unlinkLocked
		if len(members) != 1 {
			return nil
		}
		s = members[0]
	}
	if s.unheld.Load() {
		return nil
	}
	return s
}

// sockets goes through the tap's sockets until yield returns false, and reports whether
// it never did.
func (t tap) sockets(yield func(*Socket) bool) bool {
	if t.group == nil {
		return yield(t.socket)
	}
	for _, s := range *t.group.members.Load() { // pairs with the stores in linkLocked and unlinkLocked
		if !yield(s) {
			return false
		}
	}
	return true
}

// DeliverBatchTo is [Device.DeliverBatchAt] to some receivers only. The source delivers
// the packets to the others with [Device.DeliverLate].
func (d *Device) DeliverBatchTo(to []Receiver, at Moment, ps []Packet) {
	var room [stackTaps]tap
	taps := room[:0]
	for _, r := range to {
		if t, ok := r.tap.boundAt(at); ok {
			taps = append(taps, t)
		}
	}
	d.deliverInBatches(ps, taps)
}

// DeliverLate delivers packets to a receiver that was not among those of DeliverBatchTo. The
// device has counted them already.
func (d *Device) DeliverLate(to Receiver, at Moment, ps []Packet) {
	t, ok := to.tap.boundAt(at)
	if !ok {
		return
	}
	taps := [1]tap{t}
	for i := range ps {
		var meta packetMeta
		switch {
		case !meta.measure(d, &ps[i]):
			dropAll(taps[:], ring.Malformed, 1)
		case meta.extra&extraVLAN != 0 && !ps[i].Outgoing:
			d.deliverTagged(&ps[i], &meta, taps[:])
		default:
			if t.group != nil || t.socket.wants(&ps[i], &meta) {
				t.receive(&ps[i], &meta)
			}
		}
	}
}

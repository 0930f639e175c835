package rxring

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// RoomFor returns for how many packets, at most n, all attached sockets have room: the least
// of their [Socket.RoomFor]. A source that can wait, such as a file, calls it before it
// delivers.
func (d *Device) RoomFor(n int) int {
	for s := range d.readers {
		n = s.RoomFor(n)
	}
	return n
}

// HasRoom reports whether all attached sockets have room for n packets, by [Socket.HasRoom].
func (d *Device) HasRoom(n int) bool {
	for s := range d.readers {
		if !s.HasRoom(n) {
			return false
		}
	}
	return true
}

// Sockets iterates over the sockets that would be offered a packet now, members of fanout
// groups included, except sockets without a known descriptor ([Socket.SetHeld]). A socket may
// be closed meanwhile.
func (d *Device) Sockets() iter.Seq[*Socket] { return d.readers }

// drainEvery is how often Drain polls: a reader that hands back a slot does not notify
// writers.
const drainEvery = time.Millisecond

// drainUnread is how long Drain waits for a socket that has not been read at all.
const drainUnread = 3 * time.Second

// Drain retires blocks that are not full yet, and waits until all readers have read their
// packets; at most 3 s for a socket that has never been read. A source calls it at its end:
// removing a device drops unread packets. The error is ctx's.
func (d *Device) Drain(ctx context.Context) error {
	t := time.NewTicker(drainEvery)
	defer t.Stop()
	start := time.Now()
	for {
		drained := true
		for s := range d.readers {
			if !s.isDrained() && (time.Since(start) < drainUnread || s.HasRead()) {
				drained = false
			}
		}
		if drained {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// readers iterates over the attached sockets that have a known descriptor.
func (d *Device) readers(yield func(*Socket) bool) {
	for s := range d.attached {
		if !s.unheld.Load() && !yield(s) {
			return
		}
	}
}

// SetHeld says whether the socket has a known descriptor; initially true. A socket without one
// receives packets as before, but sources neither count nor wait for it: see [Device.Sockets].
func (s *Socket) SetHeld(held bool) { s.unheld.Store(!held) }

// attached iterates over the sockets that receive the device's packets, alone or in a group.
func (d *Device) attached(yield func(*Socket) bool) {
	taps := d.taps.Load()
	if taps == nil {
		return
	}
	for _, t := range *taps {
		if !t.sockets(yield) {
			return
		}
	}
}

// HasRead reports whether the socket's reader has read a packet: received one from the queue,
// or handed back a slot or block of the present ring. A source that waits for room
// distinguishes slow readers from sockets that are not read by it.
func (s *Socket) HasRead() bool {
	rx := s.rx.Load() // pairs with the store in Socket.publishLocked
	switch {
	case rx.slots != nil:
		return rx.slots.HandedBack()
	case rx.blocks != nil:
		return rx.blocks.HandedBack()
	}
	return s.queue.hasRead()
}

// RoomFor returns for how many packets, at most n, the socket's ring or queue certainly has
// room while no other writer delivers to it: of a ring of slots a number of free slots, though
// maybe not of all; of blocks how many are free, since a block's timer may close it after each
// packet; of a queue, which may get large segments, 1 unless it is large and mostly empty.
func (s *Socket) RoomFor(n int) int {
	rx := s.rx.Load() // pairs with the store in Socket.publishLocked
	switch {
	case rx.slots != nil:
		for n = min(n, int(rx.slots.Geometry().FrameNr)); n > 0 && !rx.slots.Free(uint32(n-1)); {
			n /= 2
		}
		return n
	case rx.blocks != nil:
		return rx.blocks.RoomFor(n)
	}
	switch held, limit := s.queue.held.Load(), s.queue.limit.Load(); {
	case held >= limit:
		return 0
	case held > limit/4 || limit < largeQueue:
		return min(n, 1)
	}
	return n
}

// largeQueue is what the longest packets of an IP network, in an allocation of twice their
// size, fill, in bytes.
const largeQueue = 128 << 10

// HasRoom reports whether the socket's ring or queue has room for n packets in all
// likelihood: as many free slots, a quarter of the blocks (as in __tpacket_v3_has_room),
// three quarters of the queue.
func (s *Socket) HasRoom(n int) bool {
	rx := s.rx.Load() // pairs with the store in Socket.publishLocked
	if rx.blocks != nil {
		g := rx.blocks.Geometry()
		return rx.blocks.Free(min(max(g.BlockNr/4, 1), g.BlockNr-1))
	}
	if rx.slots != nil {
		return s.RoomFor(n) == n
	}
	return s.queue.held.Load() <= s.queue.limit.Load()/4
}

func (s *Socket) isDrained() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue.length.Load() > 0 {
		return false
	}
	switch r := s.ring.(type) {
	case *writer.Ring:
		return r.Free(r.Geometry().FrameNr - 1) // the slot before head: the latest packet's
	case *writer.Blocks:
		r.Expire()
		return !r.Readable() && r.Free(0)
	}
	return true
}

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
		switch meta.measure(d, &ps[i]) {
		case malformed:
			dropAll(taps[:], ring.Malformed, 1)
		case tagged:
			d.deliverTagged(&ps[i], &meta, taps[:])
		default:
			if t.group != nil || t.socket.wants(&ps[i], &meta) {
				t.receive(&ps[i], &meta)
			}
		}
	}
}

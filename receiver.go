package rxring

import "github.com/rxring/rxring/ring"

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

// RoomFor is [Socket.RoomFor] of the receiver's socket, n if nobody holds it
// ([Socket.SetHeld]). Of a group of several it is n: none of them is to wait for another.
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

// alone is the receiver's socket, if it is one and somebody holds it.
func (r Receiver) alone() *Socket {
	s := r.tap.socket
	if s == nil {
		members := *r.tap.group.members.Load() // pairs with the stores in link and unlink
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
	for _, s := range *t.group.members.Load() { // pairs with the stores in link and unlink
		if !yield(s) {
			return false
		}
	}
	return true
}

// DeliverBatchTo is [Device.DeliverBatchAt] to some receivers only. The source delivers
// the packets to the others with [Device.DeliverLate].
func (d *Device) DeliverBatchTo(to []Receiver, at Moment, ps []Packet) {
	var room [fewTaps]tap
	taps := room[:0]
	for _, r := range to {
		if t, ok := r.tap.boundAt(at); ok {
			taps = append(taps, t)
		}
	}
	d.deliverInBatches(ps, taps)
}

// DeliverLate delivers packets to a receiver for which DeliverBatchTo left them out, in
// the order in which they came. The device has counted them already.
func (d *Device) DeliverLate(to Receiver, at Moment, ps []Packet) {
	t, ok := to.tap.boundAt(at)
	if !ok {
		return
	}
	taps := [1]tap{t}
	for i := range ps {
		var a arrival
		switch {
		case !a.measure(d, &ps[i]):
			dropAll(taps[:], ring.Malformed, 1)
		case a.extra&extraVLAN != 0 && !ps[i].Outgoing:
			d.deliverTagged(&ps[i], &a, taps[:])
		default:
			if t.group != nil || t.socket.wants(&ps[i], &a) {
				t.receive(&ps[i], &a)
			}
		}
	}
}

package rxring

import "slices"

// tap receives a device's packets: a socket, or a fanout group of sockets. Exactly one field
// is set. It mirrors struct packet_type (linux/netdevice.h).
type tap struct {
	socket *Socket
	group  *group
}

func (t tap) ifindex() int {
	if t.group != nil {
		return t.group.ifindex
	}
	return int(t.socket.ifindex.Load())
}

func (t tap) protocol() uint16 {
	if t.group != nil {
		return t.group.protocol
	}
	return uint16(t.socket.protocol.Load()) // pairs with the store in bindLocked
}

// tapLocked returns the tap by which devices deliver to s.
func (s *Socket) tapLocked() tap {
	if s.group != nil {
		return tap{group: s.group}
	}
	return tap{socket: s}
}

// allowsDeviceLocked reports whether the tap's grants allow d.
func (t tap) allowsDeviceLocked(d *Device) bool {
	if t.group != nil {
		return t.group.allowsDeviceLocked(d)
	}
	return t.socket.grant.allowsDevice(int32(d.index))
}

// receive delivers a packet for the tap's protocol.
func (t tap) receive(p *Packet, meta *packetMeta) {
	if t.group == nil {
		t.socket.receive(p, meta)
	} else if due := t.group.deliver(p, meta); due != nil {
		due.notify.FenceAndWake()
	}
}

// setRunningLocked sets whether devices deliver to s, by itself or in its group.
func (ns *Namespace) setRunningLocked(s *Socket, running bool) {
	if s.running == running {
		return
	}
	s.running = running
	switch {
	case s.group != nil && running:
		ns.linkLocked(s.group, s, tap{})
	case s.group != nil:
		ns.unlinkLocked(s.group, s)
	default:
		ns.updateTapLocked(tap{}, tap{socket: s}, running)
	}
}

// updateTapLocked makes t, if it is linked, one of the taps of each device that it may receive
// from, and removes it from the others. It also removes the tap old, which has the binding of t;
// the zero tap: none.
func (ns *Namespace) updateTapLocked(old, t tap, linked bool) {
	if t.ifindex() == 0 {
		ns.anyTaps = changeAnyTaps(ns.anyTaps, old, t, linked)
	}
	var lists tapLists
	for _, d := range ns.devices.matching(t.ifindex()) {
		receives := linked && d.up.Load() && t.allowsDeviceLocked(d)
		d.publishTapsLocked(lists.change(d.taps.Load(), old, t, receives))
	}
	if t.ifindex() == 0 {
		ns.newTaps = lists.changed[tapListKey{ns.newTaps, linked}]
	}
}

// changeAnyTaps is changeTap for a list of taps of all devices that is not published: it changes
// the list itself. It searches from the end, where a tap that was added last is.
func changeAnyTaps(taps []tap, old, t tap, want bool) []tap {
	if i := lastIndex(taps, old); i >= 0 {
		taps = slices.Delete(taps, i, i+1)
	}
	switch i := lastIndex(taps, t); {
	case want && i < 0:
		taps = append(taps, t)
	case !want && i >= 0:
		taps = slices.Delete(taps, i, i+1)
	}
	return taps
}

// lastIndex returns where t is; -1: nowhere, as the zero tap.
func lastIndex(taps []tap, t tap) int {
	if t == (tap{}) {
		return -1
	}
	for i := len(taps) - 1; i >= 0; i-- {
		if taps[i] == t {
			return i
		}
	}
	return -1
}

// tapsForNewLocked returns those of anyTaps that d, which has no others, receives. Devices that
// were added one after another mostly share one list.
func (ns *Namespace) tapsForNewLocked(d *Device) *[]tap {
	taps := ns.anyTaps
	if len(ns.restricted) > 0 {
		taps = slices.DeleteFunc(slices.Clone(taps), func(t tap) bool { return !t.allowsDeviceLocked(d) })
	}
	switch {
	case len(taps) == 0:
		return nil
	case ns.newTaps == nil || !slices.Equal(*ns.newTaps, taps):
		taps = slices.Clone(taps) // anyTaps changes
		ns.newTaps = &taps
	}
	return ns.newTaps
}

// publishTapsLocked replaces the device's taps; nil: none. Writers continue with the old list,
// which does not change.
func (d *Device) publishTapsLocked(taps *[]tap) {
	d.taps.Store(taps) // pairs with the loads in Deliver and DeliverBatch
	d.ns.mu.notifyLocked(d)
}

// tapLists has the lists that one change has made. Devices that shared a list share the new one,
// so the change of a tap of all devices makes few.
type tapLists struct {
	changed map[tapListKey]*[]tap

	lastKey tapListKey // most devices have the list of the device before
	last    *[]tap
}

type tapListKey struct {
	before   *[]tap
	receives bool
}

// change returns the list that a device has after the change, nil if it is empty; receives says
// whether t is in it.
func (l *tapLists) change(taps *[]tap, old, t tap, receives bool) *[]tap {
	key := tapListKey{taps, receives}
	if key == l.lastKey && l.changed != nil {
		return l.last
	}
	changed, ok := l.changed[key]
	if !ok {
		changed = changedTaps(taps, old, t, receives)
		if l.changed == nil {
			l.changed = make(map[tapListKey]*[]tap)
		}
		l.changed[key] = changed
	}
	l.lastKey, l.last = key, changed
	return changed
}

func changedTaps(taps *[]tap, old, t tap, receives bool) *[]tap {
	var before []tap
	if taps != nil {
		before = *taps
	}
	changed, differs := changeTap(before, old, t, receives)
	switch {
	case !differs:
		return taps
	case len(changed) == 0:
		return nil
	}
	return &changed
}

// changeTap returns taps without old, and with or without t, and whether that differs; then it
// is a new slice. Taps of all devices are before those of one, as in Linux.
func changeTap(taps []tap, old, t tap, want bool) (changed []tap, differs bool) {
	has := slices.Contains(taps, t)
	if has == want && !slices.Contains(taps, old) {
		return taps, false
	}
	changed = make([]tap, 0, len(taps)+1)
	for _, o := range taps {
		if o != old && (o != t || want) {
			changed = append(changed, o)
		}
	}
	if has || !want {
		return changed, true
	}
	i := len(changed)
	if t.ifindex() == 0 {
		i = 0
		for i < len(changed) && changed[i].ifindex() == 0 {
			i++
		}
	}
	return slices.Insert(changed, i, t), true
}

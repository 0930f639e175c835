package rxring

import (
	"slices"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Namespace.mu is to bindings, memberships and the state of devices what
// rtnl_lock and bind_lock are in Linux.

// Bind binds the socket to a device (Ifindex; 0: all) and a protocol (Protocol,
// network byte order; 0 keeps the one it has), as packet_bind does. On a device
// that is down it gets nothing until the device is up, and ENETDOWN is pending.
//
// Packets that came before Bind go by the old binding, those that come after it by the
// new one, as in Linux. So where a source still holds packets (see [Backlog]), a Bind
// that changes the binding of a socket that gets them waits until they are delivered.
// Those that the source does not deliver in time are counted as [ring.Lost].
func (s *Socket) Bind(a tpacket.SockaddrLL) error {
	s.reportLost()
	s.ns.mark(a.Ifindex)
	left := uint64(0)
	if s.hookedNow() && s.changes(a) {
		left = s.flush() // after mark: no packet is between the two
	}
	return s.do("bind", func() error {
		if a.Family != tpacket.AFPacket {
			return explain.Errorf(syscall.EINVAL, "sll_family %d: want AF_PACKET (%d)", a.Family, tpacket.AFPacket)
		}
		if s.group != nil {
			return explain.Errorf(syscall.EINVAL, "the socket is in fanout group %d, which keeps its binding", s.group.config.ID)
		}
		err := s.ns.bind(s, a.Ifindex, tpacket.Htons(a.Protocol))
		if err == nil && left > 0 {
			s.drop(ring.Lost, left)
		}
		return err
	})
}

// BindDevice binds the socket to d for one protocol, in host byte order; 0
// keeps the one it has.
func (s *Socket) BindDevice(d *Device, protocol uint16) error {
	return s.Bind(tpacket.SockaddrLL{Family: tpacket.AFPacket, Ifindex: int32(d.index), Protocol: tpacket.Htons(protocol)})
}

// bind is packet_do_bind. s.mu is held.
func (ns *Namespace) bind(s *Socket, ifindex int32, protocol uint16) error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	var d *Device
	if ifindex != 0 {
		var ok bool
		if d, ok = ns.findLocked(func(d *Device) bool { return d.index == int(ifindex) }); !ok || !s.grant.sees(ifindex) {
			return explain.Errorf(syscall.ENODEV, "sll_ifindex %d: no such device", ifindex)
		}
	}
	if protocol == 0 {
		protocol = uint16(s.protocol.Load())
	}
	if d == s.device && protocol == uint16(s.protocol.Load()) {
		return nil // also when the device it was bound to is gone, and all devices are asked for
	}
	ns.setHooked(s, false) // no packet meets half a binding
	s.setDevice(d)
	s.protocol.Store(uint32(protocol))
	s.ifindex.Store(ifindex)
	ns.binds(s)
	switch {
	case protocol == 0:
	case d == nil || d.up.Load():
		ns.setHooked(s, true)
	default:
		s.fail(syscall.ENETDOWN)
	}
	return nil
}

// fail makes errno the socket's pending error, and tells pollers
// (sk_error_report).
func (s *Socket) fail(errno syscall.Errno) {
	s.err.Store(int32(errno))
	s.notify.Wake()
}

// Addr is the address that the socket is bound to, as getsockname gives it. Its
// Ifindex is -1 when the device has been removed.
func (s *Socket) Addr() tpacket.SockaddrLL {
	s.ns.mu.Lock()
	defer s.ns.mu.Unlock()
	a := tpacket.SockaddrLL{
		Family:   tpacket.AFPacket,
		Protocol: tpacket.Htons(uint16(s.protocol.Load())),
		Ifindex:  s.ifindex.Load(),
	}
	if s.device != nil {
		a.Hatype = uint16(s.device.typ)
		if s.device.ethernet() {
			a.Halen = uint8(copy(a.Addr[:], s.device.addr[:]))
		}
	}
	return a
}

// enter makes s one of the namespace's sockets.
func (ns *Namespace) enter(s *Socket) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.sockets = append(ns.sockets, s)
	s.grant.look(ns.devices)
	ns.binds(s)
	if s.protocol.Load() != 0 {
		ns.setHooked(s, true)
	}
}

// exit is for a socket that closes.
func (ns *Namespace) exit(s *Socket) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.setHooked(s, false)
	ns.flushMemberships(s, nil)
	if i := slices.Index(ns.sockets, s); i >= 0 {
		ns.sockets = slices.Delete(ns.sockets, i, i+1)
	}
}

// Up says whether the device is up, as it is when it is made.
func (d *Device) Up() bool { return d.up.Load() }

// SetUp sets the device up or down (IFF_UP). To a socket that is bound to it and
// open for a protocol, down means: no more packets, and ENETDOWN once, from Recv
// or SO_ERROR, with POLLERR until then. When the device is up again its packets
// come again. Sockets bound to all devices do not notice. On a device that was
// removed it does nothing.
func (d *Device) SetUp(up bool) {
	d.ns.mu.Lock()
	defer d.ns.mu.Unlock()
	if slices.Contains(d.ns.devices, d) {
		d.ns.setUp(d, up)
	}
}

// setUp is packet_notifier for NETDEV_UP and NETDEV_DOWN.
func (ns *Namespace) setUp(d *Device, up bool) {
	if d.up.Swap(up) == up {
		return
	}
	for _, s := range ns.sockets {
		switch {
		case s.device != d:
		case up:
			if s.protocol.Load() != 0 {
				ns.setHooked(s, true)
			}
		case s.hooked:
			ns.setHooked(s, false)
			s.fail(syscall.ENETDOWN)
		}
	}
	ns.hook()
}

// RemoveDevice sets the device down and takes it away: its name is free, its
// index is never given again, memberships on it are gone, and sockets bound to it
// are bound to index -1. ENODEV when it is not in the namespace, any more.
func (ns *Namespace) RemoveDevice(d *Device) error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if !slices.Contains(ns.devices, d) {
		return explain.Errorf(syscall.ENODEV, "device %s: it is not in this namespace", d.name)
	}
	ns.removeDeviceLocked(d)
	return nil
}

func (ns *Namespace) removeDeviceLocked(d *Device) {
	ns.setUp(d, false)
	for _, s := range ns.sockets { // packet_notifier for NETDEV_UNREGISTER
		ns.flushMemberships(s, d)
		if s.device == d {
			s.setDevice(nil)
			s.ifindex.Store(-1)
		}
	}
	ns.devices = slices.DeleteFunc(ns.devices, func(o *Device) bool { return o == d })
	if ns.lo == d {
		ns.lo = nil
	}
	ns.pools.Delete(int32(d.index))
}

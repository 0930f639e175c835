//go:build linux

package rtnl

import (
	"math"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/netdev"
)

// Bus is the rtnetlink of a namespace. It and its sockets must not be used concurrently.
type Bus struct {
	ns      *rxring.Namespace
	flags   func(*rxring.Device) uint32
	sockets []*Socket
	ports   map[uint32]*Socket // the bound ones
	held    int                // bytes of memory of datagrams that wait

	announced map[*rxring.Device]snapshot // the devices that members of groups know of
	changes   uint64                      // Namespace.DeviceChanges before announced was made
	reflagged bool                        // flags may return others for devices of announced
}

// snapshot is what members of groups know of a device.
type snapshot struct {
	flags  uint32
	mtu    int
	maxLen int
	addrs  []netdev.Address // IPv4 first
}

func (a snapshot) sameLink(b snapshot) bool {
	return a.flags == b.flags && a.mtu == b.mtu && a.maxLen == b.maxLen
}

// NewBus makes the rtnetlink of a namespace; flags returns the IFF_* flags of a device.
func NewBus(ns *rxring.Namespace, flags func(*rxring.Device) uint32) *Bus {
	return &Bus{ns: ns, flags: flags, ports: make(map[uint32]*Socket)}
}

// insert gives s a port, as netlink_insert does. If the port is in use, it is in the
// socket's name all the same.
func (b *Bus) insert(s *Socket, port uint32) error {
	s.port = port
	if _, used := b.ports[port]; used {
		return syscall.EADDRINUSE
	}
	s.bound = true
	b.ports[port] = s
	return nil
}

// autobind gives s the first free port, as netlink_autobind does: its process's id, or
// else one that is no process's.
func (b *Bus) autobind(s *Socket) {
	for port := s.pid; b.insert(s, port) != nil; port-- {
		if port == s.pid {
			port = math.MaxUint32 - 4095
		}
	}
}

// HasMembers reports whether a socket is a member of a multicast group.
func (b *Bus) HasMembers() bool {
	for _, s := range b.sockets {
		if s.groups != 0 {
			return true
		}
	}
	return false
}

// addMember notes the devices that need not be announced to a new member of a group.
func (b *Bus) addMember() {
	if !b.HasMembers() {
		b.announced = b.now()
	}
}

// FlagsChanged says that the IFF_* flags of a device may have changed though the device did not.
func (b *Bus) FlagsChanged() { b.reflagged = true }

func (b *Bus) now() map[*rxring.Device]snapshot {
	b.changes, b.reflagged = b.ns.DeviceChanges(), false
	all := make(map[*rxring.Device]snapshot)
	for _, d := range netdev.All(b.ns) {
		all[d] = snapshot{b.flags(d), d.MTU(), d.MaxLen(), append(netdev.Addresses(d, true), netdev.Addresses(d, false)...)}
	}
	return all
}

// Announce notifies the members of groups of the devices that were added, changed or removed
// since the last call, and of their addresses. It reports whether there were any.
func (b *Bus) Announce() bool {
	if !b.HasMembers() || b.changes == b.ns.DeviceChanges() && !b.reflagged {
		return false
	}
	before, now, changed := b.announced, b.now(), false
	for d, old := range before {
		if _, ok := now[d]; !ok {
			b.announceAddrs(d, unix.RTM_DELADDR, old.addrs)
			b.multicast(unix.RTNLGRP_LINK, b.linkMessage(d, header{typ: unix.RTM_DELLINK}))
			changed = true
		}
	}
	for _, d := range netdev.All(b.ns) {
		old, known := before[d]
		if !known || !old.sameLink(now[d]) {
			b.multicast(unix.RTNLGRP_LINK, b.linkMessage(d, header{typ: unix.RTM_NEWLINK}))
			changed = true
		}
		changed = b.announceChanges(d, old.addrs, now[d].addrs) || changed
	}
	b.announced = now
	return changed
}

// announceChanges announces the addresses that a device lost and those that are new, or are
// primary or secondary now. It reports whether there were any.
func (b *Bus) announceChanges(d *rxring.Device, before, now []netdev.Address) bool {
	lost := slices.DeleteFunc(slices.Clone(before), func(a netdev.Address) bool {
		return slices.ContainsFunc(now, func(o netdev.Address) bool { return o.Prefix == a.Prefix })
	})
	fresh := slices.DeleteFunc(slices.Clone(now), func(a netdev.Address) bool { return slices.Contains(before, a) })
	b.announceAddrs(d, unix.RTM_DELADDR, lost)
	b.announceAddrs(d, unix.RTM_NEWADDR, fresh)
	return len(lost)+len(fresh) > 0
}

func (b *Bus) announceAddrs(d *rxring.Device, typ uint16, addrs []netdev.Address) {
	for _, a := range addrs {
		group := uint32(unix.RTNLGRP_IPV6_IFADDR)
		if a.Addr().Is4() {
			group = unix.RTNLGRP_IPV4_IFADDR
		}
		b.multicast(group, addrMessage(d, a, header{typ: typ}))
	}
}

func (b *Bus) multicast(group uint32, m []byte) {
	for _, s := range b.sockets {
		if s.groups&bit(group) != 0 && !s.queue(Datagram{m, group, memory(len(m))}) && !s.option[unix.NETLINK_NO_ENOBUFS] {
			s.err = syscall.ENOBUFS
		}
	}
}

//go:build linux

package rtnl

import (
	"math"
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

	announced map[*rxring.Device]uint32 // the devices that members of groups know of, with their flags
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

func (b *Bus) now() map[*rxring.Device]uint32 {
	all := make(map[*rxring.Device]uint32)
	for _, d := range netdev.All(b.ns) {
		all[d] = b.flags(d)
	}
	return all
}

// Announce notifies the members of groups of the devices that were added, changed their
// flags or were removed since the last call. It reports whether there were any.
func (b *Bus) Announce() bool {
	if !b.HasMembers() {
		return false
	}
	before, now, changed := b.announced, b.now(), false
	for d := range before {
		if _, ok := now[d]; !ok {
			b.addresses(d, unix.RTM_DELADDR)
			b.multicast(unix.RTNLGRP_LINK, b.linkMessage(d, header{typ: unix.RTM_DELLINK}))
			changed = true
		}
	}
	for _, d := range netdev.All(b.ns) {
		flags, known := before[d]
		if known && flags == now[d] {
			continue
		}
		b.multicast(unix.RTNLGRP_LINK, b.linkMessage(d, header{typ: unix.RTM_NEWLINK}))
		if !known {
			b.addresses(d, unix.RTM_NEWADDR)
		}
		changed = true
	}
	b.announced = now
	return changed
}

// addresses announces all addresses of a device.
func (b *Bus) addresses(d *rxring.Device, typ uint16) {
	for _, group := range []uint32{unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR} {
		for _, a := range netdev.Addresses(d, group == unix.RTNLGRP_IPV4_IFADDR) {
			b.multicast(group, addrMessage(d, a, header{typ: typ}))
		}
	}
}

func (b *Bus) multicast(group uint32, m []byte) {
	for _, s := range b.sockets {
		if s.groups&bit(group) != 0 && !s.queue(Datagram{m, group, memory(len(m))}) && !s.option[unix.NETLINK_NO_ENOBUFS] {
			s.err = syscall.ENOBUFS
		}
	}
}

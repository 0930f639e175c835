//go:build linux

package rtnl

import (
	"math"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/netdev"
)

// Bus is the rtnetlink of a namespace. It and its sockets are one goroutine's.
type Bus struct {
	ns      *rxring.Namespace
	flags   func(*rxring.Device) uint32
	sockets []*Socket
	ports   map[uint32]*Socket // those that are bound
	held    int                // bytes of memory that wait for programs

	told map[*rxring.Device]uint32 // what members of groups know: devices, with their flags
}

// NewBus makes the rtnetlink of a namespace, whose devices have the IFF_* flags
// that flags says.
func NewBus(ns *rxring.Namespace, flags func(*rxring.Device) uint32) *Bus {
	return &Bus{ns: ns, flags: flags, ports: make(map[uint32]*Socket)}
}

// insert gives s a port, as netlink_insert does. Where the port is taken, the
// socket's name has it all the same.
func (b *Bus) insert(s *Socket, port uint32) error {
	s.port = port
	if _, taken := b.ports[port]; taken {
		return syscall.EADDRINUSE
	}
	s.bound = true
	b.ports[port] = s
	return nil
}

// autobind gives s the first port that is free: its process' id, or else one
// that no process has, as netlink_autobind does.
func (b *Bus) autobind(s *Socket) {
	for port := s.pid; b.insert(s, port) != nil; port-- {
		if port == s.pid {
			port = math.MaxUint32 - 4095
		}
	}
}

// Watched says whether a socket wants to hear of changes.
func (b *Bus) Watched() bool {
	for _, s := range b.sockets {
		if s.groups != 0 {
			return true
		}
	}
	return false
}

// watch notes the devices of which a new member of a group need not be told.
func (b *Bus) watch() {
	if !b.Watched() {
		b.told = b.now()
	}
}

func (b *Bus) now() map[*rxring.Device]uint32 {
	all := make(map[*rxring.Device]uint32)
	for _, d := range netdev.All(b.ns) {
		all[d] = b.flags(d)
	}
	return all
}

// Announce tells the members of groups of the devices that have come, changed
// their flags or gone since it was last called. It says whether there were any.
func (b *Bus) Announce() bool {
	if !b.Watched() {
		return false
	}
	before, now, news := b.told, b.now(), false
	for d := range before {
		if _, ok := now[d]; !ok {
			b.addresses(d, unix.RTM_DELADDR)
			b.multicast(unix.RTNLGRP_LINK, b.linkMessage(d, header{typ: unix.RTM_DELLINK}))
			news = true
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
		news = true
	}
	b.told = now
	return news
}

// addresses tells of all addresses of a device.
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

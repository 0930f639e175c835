//go:build linux

package rtnl

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/cbpf"
)

// Socket is a NETLINK_ROUTE socket of a program. It mirrors struct netlink_sock
// (net/netlink/af_netlink.h). Its errors are Linux's errnos.
type Socket struct {
	bus   *Bus
	typ   int
	pid   uint32 // of the process that made it
	port  uint32
	bound bool

	user func() uint32 // the program's user id

	groups  uint64 // bit i: group i+1
	grouped bool   // has ever asked for groups: only then Linux lists them
	option  map[int]bool
	filter  *cbpf.Filter

	waiting []Datagram
	held    int // bytes of memory of those that wait
	rcvbuf  int
	longest int // bytes of room of the largest receive call so far (max_recvmsg_len)
	dump    *dump
	err     syscall.Errno // for the next receive call, or SO_ERROR
}

// Datagram is what a receive call gets. Its sender is port 0, the kernel.
type Datagram struct {
	Data  []byte
	Group uint32 // 0: for this socket alone

	memory int // bytes of the receive buffer that it occupies
}

const (
	// groups is the number of multicast groups (RTNLGRP_MAX).
	groups = 39
	// maxHeld bounds the bytes that are kept for a socket, whatever receive buffer the
	// program asks for.
	maxHeld = 1 << 20
	// maxHeldAll bounds them for all sockets together, except for one datagram each.
	maxHeldAll = 16 << 20
)

// memory is about what Linux accounts for a datagram that may become as long as
// room (skb->truesize): a power of two, and struct sk_buff.
func memory(room int) int {
	const sizeofSkb = 256
	return 1<<bits.Len(uint(room+skbOverhead-1)) + sizeofSkb
}

func bit(group uint32) uint64 { return 1 << (group - 1) }

// Socket makes a socket of a type (SOCK_RAW, SOCK_DGRAM) for the process pid, not bound
// yet.
func (b *Bus) Socket(pid uint32, typ int) *Socket {
	s := &Socket{bus: b, typ: typ, pid: pid, user: func() uint32 { return 0 }, option: make(map[int]bool), rcvbuf: maxHeld}
	b.sockets = append(b.sockets, s)
	return s
}

// Close removes the socket from the bus.
func (s *Socket) Close() {
	if s.bound {
		delete(s.bus.ports, s.port)
	}
	s.bus.sockets = slices.DeleteFunc(s.bus.sockets, func(o *Socket) bool { return o == s })
	s.bus.held -= s.held
	s.waiting, s.held, s.dump, s.groups = nil, 0, nil, 0
}

// SetReceiveBuffer bounds the datagrams that wait for the program, in bytes as SO_RCVBUF
// counts them.
func (s *Socket) SetReceiveBuffer(n int) { s.rcvbuf = min(n, maxHeld) }

// SetUser sets the function that returns the program's user id, for lookups of routes.
func (s *Socket) SetUser(f func() uint32) { s.user = f }

// Type is the socket's type.
func (s *Socket) Type() int { return s.typ }

// AttachFilter runs f over every datagram from now on (SO_ATTACH_FILTER).
func (s *Socket) AttachFilter(f *cbpf.Filter) { s.filter = f }

// DetachFilter removes the filter: ENOENT if there is none.
func (s *Socket) DetachFilter() error {
	if s.filter == nil {
		return syscall.ENOENT
	}
	s.filter = nil
	return nil
}

// checkAddress reads the struct sockaddr_nl that a program passes.
func checkAddress(b []byte) (port, groups uint32, err error) {
	if len(b) < unix.SizeofSockaddrNetlink || binary.NativeEndian.Uint16(b) != unix.AF_NETLINK {
		return 0, 0, syscall.EINVAL
	}
	return binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[8:]), nil
}

// Address lays out a struct sockaddr_nl.
func Address(port, groups uint32) []byte {
	b := make([]byte, 4, unix.SizeofSockaddrNetlink)
	binary.NativeEndian.PutUint16(b, unix.AF_NETLINK)
	b = binary.NativeEndian.AppendUint32(b, port)
	return binary.NativeEndian.AppendUint32(b, groups)
}

// From is the address of a datagram's sender.
func (d Datagram) From() []byte {
	if d.Group == 0 || d.Group > 32 {
		return Address(0, 0)
	}
	return Address(0, uint32(bit(d.Group))) // netlink_group_mask
}

// Name is what getsockname returns.
func (s *Socket) Name() []byte { return Address(s.port, uint32(s.groups)) }

// Bind binds the socket to a struct sockaddr_nl, as netlink_bind does.
func (s *Socket) Bind(addr []byte) error {
	port, want, err := checkAddress(addr)
	if err != nil {
		return err
	}
	s.grouped = s.grouped || want != 0
	switch {
	case s.bound && port != s.port:
		return syscall.EINVAL
	case !s.bound && port != 0:
		if err := s.bus.insert(s, port); err != nil {
			return err
		}
	case !s.bound:
		s.bus.autobind(s)
	}
	s.join(s.groups&^math.MaxUint32 | uint64(want))
	return nil
}

// join makes groups those that the socket is a member of.
func (s *Socket) join(groups uint64) {
	if groups != 0 {
		s.bus.addMember()
	}
	s.groups = groups
}

// Setsockopt sets an option at SOL_NETLINK.
func (s *Socket) Setsockopt(name int, val []byte) error {
	var v uint32
	if len(val) >= 4 {
		v = binary.NativeEndian.Uint32(val)
	}
	switch name {
	case unix.NETLINK_ADD_MEMBERSHIP, unix.NETLINK_DROP_MEMBERSHIP:
		s.grouped = true
		if v == 0 || v > groups {
			return syscall.EINVAL
		}
		if name == unix.NETLINK_DROP_MEMBERSHIP {
			s.join(s.groups &^ bit(v))
			return nil
		}
		s.join(s.groups | bit(v))
	case unix.NETLINK_PKTINFO, unix.NETLINK_BROADCAST_ERROR, unix.NETLINK_NO_ENOBUFS,
		unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK, unix.NETLINK_GET_STRICT_CHK:
		s.option[name] = v != 0
	case unix.NETLINK_LISTEN_ALL_NSID:
		return syscall.EPERM // for CAP_NET_BROADCAST
	default:
		return syscall.ENOPROTOOPT
	}
	return nil
}

// Getsockopt fills val with an option at SOL_NETLINK, and returns its length,
// which for NETLINK_LIST_MEMBERSHIPS may be more than fits.
func (s *Socket) Getsockopt(name int, val []byte) (int, error) {
	switch name {
	case unix.NETLINK_PKTINFO, unix.NETLINK_BROADCAST_ERROR, unix.NETLINK_NO_ENOBUFS, unix.NETLINK_LISTEN_ALL_NSID,
		unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK, unix.NETLINK_GET_STRICT_CHK:
		if len(val) < 4 {
			return 0, syscall.EINVAL
		}
		binary.NativeEndian.PutUint32(val, 0)
		if s.option[name] {
			binary.NativeEndian.PutUint32(val, 1)
		}
		return 4, nil
	case unix.NETLINK_LIST_MEMBERSHIPS:
		var all []byte
		if s.grouped {
			all = binary.NativeEndian.AppendUint64(nil, s.groups)
		}
		for i := 0; i+4 <= len(val) && i < len(all); i += 4 {
			copy(val[i:i+4], all[i:])
		}
		return len(all), nil
	}
	return 0, syscall.ENOPROTOOPT
}

// Option reports whether an option at SOL_NETLINK is on.
func (s *Socket) Option(name int) bool { return s.option[name] }

// Error returns the pending error (SO_ERROR) and clears it; nil if there is none.
func (s *Socket) Error() error {
	if s.err == 0 {
		return nil
	}
	err := s.err
	s.err = 0
	return err
}

// Readable reports whether a receive call would not wait.
func (s *Socket) Readable() bool { return len(s.waiting) > 0 || s.err != 0 }

// First is the first datagram, unless there is none or an error is pending.
func (s *Socket) First() (Datagram, bool) {
	if s.err != 0 || len(s.waiting) == 0 {
		return Datagram{}, false
	}
	return s.waiting[0], true
}

// Front returns the first datagram, or the pending error, which it clears. EAGAIN: there
// is neither.
func (s *Socket) Front() (Datagram, error) {
	if err := s.Error(); err != nil {
		return Datagram{}, err
	}
	if len(s.waiting) == 0 {
		return Datagram{}, syscall.EAGAIN
	}
	return s.waiting[0], nil
}

// Take completes a receive call that had room for room bytes and got what Front returned,
// as netlink_recvmsg does: it removes the datagram, unless the call peeked (MSG_PEEK), and
// makes the next piece of a dump.
func (s *Socket) Take(room int, peek bool) {
	const most = 32<<10 - skbOverhead
	s.longest = min(max(s.longest, room), most)
	if !peek && len(s.waiting) > 0 {
		s.hold(-s.waiting[0].memory)
		s.waiting[0] = Datagram{}
		s.waiting = s.waiting[1:]
	}
	if s.dump != nil && s.held <= s.rcvbuf/2 {
		s.dumpMore()
	}
}

func (s *Socket) hold(memory int) {
	s.held += memory
	s.bus.held += memory
}

// room reports whether the receive buffer has room for so many more bytes of memory. An
// empty one has room for one datagram of any length.
func (s *Socket) room(memory int) bool {
	return s.held == 0 || s.held+memory <= s.rcvbuf && s.bus.held+memory <= maxHeldAll
}

// queue appends a datagram, if the receive buffer has room.
func (s *Socket) queue(d Datagram) bool {
	if !s.room(d.memory) {
		return false
	}
	if s.filter != nil {
		n := s.filter.Run(&cbpf.Packet{Data: d.Data, Len: uint32(len(d.Data))})
		if n == 0 {
			return true // filtered out
		}
		d.Data = d.Data[:min(uint64(n), uint64(len(d.Data)))]
	}
	s.waiting = append(s.waiting, d)
	s.hold(d.memory)
	return true
}

// Send serves the requests in b, in order, which sendto or sendmsg sends to an address;
// nil: to none.
func (s *Socket) Send(to, b []byte) error {
	if len(b) == 0 {
		return syscall.ENODATA
	}
	if to != nil {
		port, groups, err := checkAddress(to)
		if err != nil {
			return err
		}
		if port != 0 || groups != 0 {
			return syscall.EPERM // programs cannot send to each other here
		}
	}
	if !s.bound {
		s.bus.autobind(s)
	}
	s.requests(b)
	return nil
}

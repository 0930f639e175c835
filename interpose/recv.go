//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// parked is a receive call that waits. A signal ends it in the kernel, which
// takes the notification away without a word: it is asked after at intervals.
type parked struct {
	id       uint64
	k        *socket
	deadline time.Time // zero: none
}

// recv serves recvfrom, recvmsg and recvmmsg with the checks of packet_recvmsg.
func (c *call) recv(k *socket) reply {
	const allowed = unix.MSG_PEEK | unix.MSG_DONTWAIT | unix.MSG_TRUNC | unix.MSG_ERRQUEUE
	flags := c.int(3)
	switch c.NR {
	case unix.SYS_RECVMSG:
		flags = c.int(2)
	case unix.SYS_RECVMMSG:
		flags &^= unix.MSG_WAITFORONE
	}
	if flags&^allowed != 0 {
		return reply{kind: value, err: unix.EINVAL}
	}
	// A packet that waits in the socket's queue would be handed over here. With
	// a ring, packets go there and the queue is empty.
	if flags&(unix.MSG_DONTWAIT|unix.MSG_ERRQUEUE) != 0 || nonblocking(k.end) != 0 {
		return reply{kind: value, err: unix.EAGAIN}
	}
	p := parked{id: c.ID, k: k}
	if d := k.receiveTimeout(); d > 0 {
		p.deadline = time.Now().Add(d)
	}
	c.s.parked = append(c.s.parked, p)
	return reply{kind: done}
}

// receiveTimeout is SO_RCVTIMEO, 0 when there is none.
func (k *socket) receiveTimeout() time.Duration {
	var tv [16]byte // struct timeval
	if n, err := k.rx.Getsockopt(unix.SOL_SOCKET, unix.SO_RCVTIMEO, tv[:]); err != nil || n < len(tv) {
		return 0
	}
	sec := binary.NativeEndian.Uint64(tv[:8])
	if sec > math.MaxInt64/uint64(time.Second)-1 {
		return 0 // longer than anybody waits
	}
	return time.Duration(sec)*time.Second + time.Duration(binary.NativeEndian.Uint64(tv[8:]))*time.Microsecond
}

// expireParked answers the receive calls whose time is up, forgets those that
// are gone, and returns how long until the next is due.
func (s *session) expireParked(now time.Time) time.Duration {
	next := time.Duration(math.MaxInt64)
	s.parked = slices.DeleteFunc(s.parked, func(p parked) bool {
		if p.deadline.IsZero() {
			return false
		}
		if left := p.deadline.Sub(now); left > 0 {
			next = min(next, left)
			return false
		}
		s.l.send(response{ID: p.id, Error: -int32(unix.EAGAIN)})
		return true
	})
	return next
}

// forgetParked drops the receive calls that signals have ended.
func (s *session) forgetParked() {
	s.parked = slices.DeleteFunc(s.parked, func(p parked) bool { return !s.l.valid(p.id) })
}

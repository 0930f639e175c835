//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/tpacket"
)

// receiving is a call of recvfrom, recvmsg or recvmmsg on one of our sockets. It
// is parked while it waits for a packet: no thread of ours waits with it. A
// signal ends it: see interrupted.go; before Linux 5.19 in the kernel, which takes the
// notification away without a word.
type receiving struct {
	*call
	from     source
	flags    int32
	deadline time.Time // of the wait for this packet; zero: none

	signals signalWatch

	// Of recvmmsg: how many messages it wants, how many it has, and when it
	// takes no more than those that it has.
	want, got int
	end       time.Time // zero: never
}

// source is what a receive call receives from: a packet socket, or an rtnetlink
// one.
type source interface {
	// receive hands over the first datagram, which then leaves the queue, and
	// returns the call's value. EAGAIN: none.
	receive(*receiving, destination) (int64, error)
	// nonblocking says whether O_NONBLOCK is set; the descriptor is one for the
	// source.
	nonblocking(tid int, fd int32) bool
	receiveTimeout() time.Duration // SO_RCVTIMEO: see parseTimeval
	arm(*bell)                     // to be rung when something comes
	refresh()                      // makes it as readable as it should be
}

var _ source = (*socket)(nil)

// maxMessages bounds what one recvmmsg gets, as Linux bounds sendmmsg.
const maxMessages = 1024

// recv serves recvfrom, recvmsg and recvmmsg.
func (c *call) recv(from source) reply {
	r := &receiving{call: c, from: from, flags: c.int(3)}
	switch c.NR {
	case unix.SYS_RECVMSG:
		r.flags = c.int(2)
	case unix.SYS_RECVMMSG:
		r.want = int(min(uint32(c.Args[2]), maxMessages))
		if r.want == 0 {
			return reply{kind: value}
		}
		if at := c.Args[4]; at != 0 {
			var b [16]byte // struct timespec
			if err := c.read(at, b[:]); err != nil {
				return result(err)
			}
			d, err := parseTimespec(b)
			if err != nil {
				return result(err)
			}
			r.end = time.Now().Add(d)
		}
	}
	if c.NR != unix.SYS_RECVFROM && uint32(r.flags)&msgCmsgCompat != 0 {
		return reply{kind: value, err: unix.EINVAL}
	}
	if !c.valid() {
		return reply{}
	}
	r.wait()
	defer from.refresh()
	if answer, ok := r.try(); ok {
		return answer
	}
	// A packet may have come before the socket is armed: look again.
	from.arm(c.s.news)
	if answer, ok := r.try(); ok {
		return answer
	}
	c.s.parked = append(c.s.parked, r)
	return reply{kind: done}
}

const msgCmsgCompat = 0x80000000 // MSG_CMSG_COMPAT (linux/socket.h)

// parseTimespec reads a struct timespec with the checks of timespec64_valid.
func parseTimespec(b [16]byte) (time.Duration, error) {
	sec, nsec := int64(binary.NativeEndian.Uint64(b[:])), int64(binary.NativeEndian.Uint64(b[8:]))
	if sec < 0 || nsec < 0 || nsec >= 1e9 {
		return 0, unix.EINVAL
	}
	if sec > math.MaxInt64/int64(time.Second)-1 {
		return math.MaxInt64, nil // longer than anybody waits
	}
	return time.Duration(sec)*time.Second + time.Duration(nsec), nil
}

// try receives what there is; not ok means that the call has to wait.
func (r *receiving) try() (answer reply, ok bool) {
	for {
		n, err := r.one()
		switch {
		case errors.Is(err, unix.EAGAIN) && r.mayWait():
			return reply{}, false
		case r.NR != unix.SYS_RECVMMSG:
			return received(n, err), true
		case err != nil && r.got > 0:
			return r.messages(), true
		case err != nil:
			return result(err), true
		}
		r.got++
		r.wait()
		if r.got == r.want || !r.end.IsZero() && !time.Now().Before(r.end) {
			return r.messages(), true
		}
	}
}

// wait begins to wait for the next packet.
func (r *receiving) wait() {
	r.deadline = time.Time{}
	if d := r.from.receiveTimeout(); d != forever {
		r.deadline = time.Now().Add(d)
	}
}

func (r *receiving) mayWait() bool {
	switch {
	case r.flags&(unix.MSG_DONTWAIT|unix.MSG_ERRQUEUE) != 0, r.from.nonblocking(r.tid, r.int(0)):
		return false
	case r.flags&unix.MSG_WAITFORONE != 0 && r.NR == unix.SYS_RECVMMSG && r.got > 0:
		return false
	}
	return r.deadline.IsZero() || time.Now().Before(r.deadline)
}

// one receives one packet.
func (r *receiving) one() (int64, error) {
	at := r.Args[1]
	if r.NR == unix.SYS_RECVFROM {
		return r.from.receive(r, r.recvfrom())
	}
	if r.NR == unix.SYS_RECVMMSG {
		at += uint64(r.got) * sizeofMmsghdr
	}
	d, err := r.msghdr(at)
	if err != nil {
		return 0, err
	}
	n, err := r.from.receive(r, d)
	if err == nil && r.NR == unix.SYS_RECVMMSG {
		err = r.write(at+mmsghdrLen, bytes32(uint32(n)))
	}
	return n, err
}

// receive takes a packet out of the socket's queue: once it has been handed over,
// so that it is still there if a signal ends the call before.
func (k *socket) receive(r *receiving, d destination) (int64, error) {
	flags := rxring.RecvFlags(r.flags)
	if r.NR == unix.SYS_RECVMMSG {
		flags &^= unix.MSG_WAITFORONE
	}
	k.unstage()
	m, b, err := r.s.look(func(b []byte) (rxring.Message, error) { return k.rx.Recv(b, flags|rxring.MsgPeek|rxring.MsgTrunc) }, d.room())
	if errors.Is(err, unix.EINVAL) {
		_, err = k.rx.Recv(b, flags) // a packet that is refused goes
	}
	if err != nil {
		return 0, err
	}
	err = r.deliver(d, datagram{
		data: b,
		name: tpacket.Bytes(&m.From),
		cut:  m.Copied < m.N,
		control: func(room int) ([]byte, bool) {
			b := m.Control(room)
			return b, m.Flags&rxring.MsgCtrunc != 0
		},
	})
	if flags&rxring.MsgPeek == 0 && !errors.Is(err, unix.EINTR) {
		k.rx.Discard()
		k.stamp = m.Timestamp
	}
	if flags&rxring.MsgTrunc != 0 {
		return int64(m.N), err
	}
	return int64(m.Copied), err
}

// look returns as much of the first packet as there is room for, until the next
// call of it, and leaves it in the queue.
func (s *session) look(peek func([]byte) (rxring.Message, error), room uint64) (rxring.Message, []byte, error) {
	for {
		b := s.packet[:min(uint64(len(s.packet)), room)]
		m, err := peek(b)
		if err != nil || m.Copied == m.N || uint64(m.Copied) == room {
			return m, b[:m.Copied], err
		}
		s.packet = make([]byte, m.N)
	}
}

// messages is recvmmsg's value; what is left of its timeout goes back.
func (r *receiving) messages() reply {
	if !r.end.IsZero() {
		left := max(time.Until(r.end), 0)
		ts := append(bytes64(uint64(left/time.Second)), bytes64(uint64(left%time.Second))...)
		if err := r.write(r.Args[4], ts); err != nil {
			return result(err)
		}
	}
	return reply{kind: value, val: int64(r.got)}
}

func (k *socket) arm(news *bell)              { k.rx.Arm(news) }
func (k *socket) nonblocking(int, int32) bool { return nonblocking(k.end) != 0 }

func (k *socket) receiveTimeout() time.Duration { return k.timeout }

const sizeofTimeval = 16 // struct timeval

// forever is the timeout of a receive call that has none.
const forever time.Duration = -1

// parseTimeval reads the value that SO_RCVTIMEO was set to: how long receive calls
// wait. 0: they do not wait, as Linux has it of negative times. ok says that Linux
// takes the value.
func parseTimeval(tv []byte) (timeout time.Duration, ok bool) {
	if len(tv) < sizeofTimeval {
		return 0, false
	}
	sec, usec := int64(binary.NativeEndian.Uint64(tv)), int64(binary.NativeEndian.Uint64(tv[8:]))
	switch {
	case usec < 0 || usec >= 1e6:
		return 0, false
	case sec < 0:
		return 0, true
	case sec == 0 && usec == 0, sec > math.MaxInt64/int64(time.Second)-1: // longer than anybody waits
		return forever, true
	}
	return time.Duration(sec)*time.Second + time.Duration(usec)*time.Microsecond, true
}

// resume tries the receive calls that wait, after news: each may have its packet
// now, or its time may be up.
func (s *session) resume() {
	for _, r := range s.parked {
		r.from.arm(s.news) // first: what comes after it is news again
	}
	s.parked = slices.DeleteFunc(s.parked, func(r *receiving) bool {
		if !r.valid() {
			return true // a signal ended it: no packet is for it
		}
		answer, ok := r.try()
		r.release()
		if ok {
			s.answer(r.notification, answer)
			r.from.refresh()
		}
		return ok
	})
}

// nextDeadline is how long until a receive call's time is up.
func (s *session) nextDeadline(now time.Time) time.Duration {
	next := time.Duration(math.MaxInt64)
	for _, r := range s.parked {
		if !r.deadline.IsZero() {
			next = min(next, max(r.deadline.Sub(now), 0))
		}
	}
	return next
}

// forgetParked drops the receive calls that signals have ended.
func (s *session) forgetParked() {
	s.parked = slices.DeleteFunc(s.parked, func(r *receiving) bool { return !r.valid() })
}

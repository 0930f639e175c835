//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/tpacket"
)

// receiving is a call of recvfrom, recvmsg or recvmmsg on one of our sockets.
type receiving struct {
	waitState
	from  source
	flags int32

	// Of recvmmsg: the messages that it wants, those that it has, and when it returns
	// with those that it has.
	want, got int
	end       time.Time // zero: never
}

// source is what a receive call receives from: a packet socket or an rtnetlink socket.
type source interface {
	// receive delivers the first datagram, which then leaves the queue, and returns the
	// call's value. EAGAIN: the queue is empty.
	receive(*receiving, message) (int64, error)
	// nonblocking reports whether O_NONBLOCK is set on the source's descriptor fd.
	nonblocking(tid int, fd int32) bool
	receiveTimeout() time.Duration // SO_RCVTIMEO: see parseTimeval
	arm(wakeup)                    // wakes that when a datagram arrives
	refresh()                      // makes the stand-in as readable as it should be
}

var (
	_ source = (*packetSocket)(nil)
	_ source = (*rtnlSocket)(nil)
)

// maxMessages bounds what one recvmmsg or sendmmsg transfers: UIO_MAXIOV, to which Linux
// bounds sendmmsg.
const maxMessages = 1024

const msgCmsgCompat = 0x80000000 // MSG_CMSG_COMPAT (linux/socket.h)

func (c *call) recv(p *packetSocket) reply   { return c.receiveFrom(p) }
func (c *call) recvRTNL(r *rtnlSocket) reply { return c.receiveFrom(r) }

// receiveFrom serves recvfrom, recvmsg and recvmmsg.
func (c *call) receiveFrom(from source) reply {
	r := &receiving{waitState: waitState{call: c}, from: from, flags: c.messageFlags()}
	if c.NR == unix.SYS_RECVMMSG {
		r.want = int(min(uint32(c.Args[2]), maxMessages))
		if r.want == 0 {
			return value(0)
		}
		if err := r.readTimeout(c.Args[4]); err != nil {
			return result(err)
		}
	}
	if c.NR != unix.SYS_RECVFROM && uint32(r.flags)&msgCmsgCompat != 0 {
		return fail(unix.EINVAL)
	}
	if !c.valid() {
		return native
	}
	r.startWait()
	defer from.refresh()
	if answer, ok := r.try(); ok {
		return answer
	}
	// A packet may have arrived before the socket is armed: try again.
	from.arm(c.s.wakeup)
	if answer, ok := r.try(); ok {
		return answer
	}
	c.s.waiting.receives = append(c.s.waiting.receives, r)
	return waits
}

// readTimeout reads recvmmsg's struct timespec, if there is one.
func (r *receiving) readTimeout(addr uint64) error {
	if addr == 0 {
		return nil
	}
	var b [16]byte
	if err := r.read(addr, b[:]); err != nil {
		return err
	}
	d, err := parseTimespec(b)
	r.end = time.Now().Add(d)
	return err
}

// startWait starts the time-out for the next packet.
func (r *receiving) startWait() {
	r.deadline = time.Time{}
	if d := r.from.receiveTimeout(); d != forever {
		r.deadline = time.Now().Add(d)
	}
}

// try receives what there is; not ok means that the call has to wait.
func (r *receiving) try() (answer reply, ok bool) {
	for {
		n, err := r.receiveOne()
		switch {
		case errors.Is(err, unix.EAGAIN) && r.mayWait():
			return reply{}, false
		case r.NR != unix.SYS_RECVMMSG:
			return valueOr(n, err), true
		case err != nil && r.got > 0:
			return r.messages(), true
		case err != nil:
			return result(err), true
		}
		r.got++
		r.startWait()
		if r.got == r.want || !r.end.IsZero() && !time.Now().Before(r.end) {
			return r.messages(), true
		}
	}
}

func (r *receiving) mayWait() bool {
	switch {
	case r.flags&(unix.MSG_DONTWAIT|unix.MSG_ERRQUEUE) != 0, r.from.nonblocking(r.tid, r.int(0)):
		return false
	case r.flags&unix.MSG_WAITFORONE != 0 && r.NR == unix.SYS_RECVMMSG && r.got > 0:
		return false
	}
	return r.inTime()
}

// receiveOne receives one packet.
func (r *receiving) receiveOne() (int64, error) {
	m, err := r.message(r.got)
	if err != nil {
		return 0, err
	}
	return r.from.receive(r, m)
}

// messages is recvmmsg's value. What is left of its time-out is written back.
func (r *receiving) messages() reply {
	if !r.end.IsZero() {
		left := max(time.Until(r.end), 0)
		ts := append(bytes64(uint64(left/time.Second)), bytes64(uint64(left%time.Second))...)
		if err := r.write(r.Args[4], ts); err != nil {
			return result(err)
		}
	}
	return value(int64(r.got))
}

// partial is what the call returns when it is interrupted.
func (r *receiving) partial() (answer reply, ok bool) {
	if r.got > 0 {
		return r.messages(), true
	}
	return reply{}, false
}

// receive implements source. The packet leaves the queue after it was delivered, so it
// is still there if a signal ends the call first.
func (p *packetSocket) receive(r *receiving, m message) (int64, error) {
	flags := rxring.RecvFlags(r.flags)
	if r.NR == unix.SYS_RECVMMSG {
		flags &^= unix.MSG_WAITFORONE
	}
	p.unstage()
	info, b, err := r.s.peek(func(b []byte) (rxring.Message, error) { return p.backend.Recv(b, flags|rxring.MsgPeek|rxring.MsgTrunc) }, m.room())
	if errors.Is(err, unix.EINVAL) {
		_, err = p.backend.Recv(b, flags) // a packet that is refused leaves the queue
	}
	if err != nil {
		return 0, err
	}
	g := datagram{
		data:      b,
		name:      tpacket.Bytes(&info.From),
		truncated: info.Copied < info.N,
		control: func(room int) ([]byte, bool) {
			b := info.Control(room)
			return b, info.Flags&rxring.MsgCtrunc != 0
		},
		n: int64(info.Copied),
	}
	if flags&rxring.MsgTrunc != 0 {
		g.n = int64(info.N)
	}
	err = r.deliver(m, g)
	if flags&rxring.MsgPeek == 0 && !errors.Is(err, unix.EINTR) {
		p.backend.Discard()
		p.stamp = info.Timestamp
	}
	return g.n, err
}

// peek returns as much of the first packet as there is room for, and leaves it in the
// queue. The bytes are valid until the next call of peek.
func (s *session) peek(recv func([]byte) (rxring.Message, error), room uint64) (rxring.Message, []byte, error) {
	for {
		b := s.packet[:min(uint64(len(s.packet)), room)]
		m, err := recv(b)
		if err != nil || m.Copied == m.N || uint64(m.Copied) == room {
			return m, b[:m.Copied], err
		}
		s.packet = make([]byte, m.N)
	}
}

func (p *packetSocket) arm(w wakeup)                  { p.backend.Arm(w) }
func (p *packetSocket) nonblocking(int, int32) bool   { return nonblocking(p.standIn) != 0 }
func (p *packetSocket) receiveTimeout() time.Duration { return p.timeout }

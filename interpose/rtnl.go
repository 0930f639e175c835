//go:build linux && (amd64 || arm64)

package interpose

import (
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/rtnl"
)

// rtnlSocket is an rtnetlink socket of the program: socket(AF_NETLINK, ...,
// NETLINK_ROUTE).
//
// The program holds one end of a pair of sockets, as of a packet socket, but we
// keep no duplicate of it where we can make one when it is needed: the kernel tells
// when nobody holds it any more. The
// datagram that a receive call would get lies in it, a copy of it, so it is
// readable when it should be, and read, which is not trapped, works. What write
// writes comes out of our end.
type rtnlSocket struct {
	s       *session
	nl      *rtnl.Socket
	inode   uint64 // of the program's end
	end     int    // ours
	held    int    // our duplicate of the program's end, -1: none is kept
	staged  bool   // a copy of the first datagram lies in the program's end
	timeout time.Duration
}

// maxRTNLs bounds the rtnetlink sockets that are open at a time.
const maxRTNLs = 256

// netlinkCall serves socket(AF_NETLINK, ...) for the protocols that the filter
// traps.
func (c *call) netlinkCall() reply {
	c.s.pairs.attend(c.s) // what was closed makes room, and its port is free
	c.s.sweepRTNL()
	typ, flags, err := c.socketType()
	switch {
	case err != nil:
		return result(err)
	case typ != unix.SOCK_RAW && typ != unix.SOCK_DGRAM:
		return reply{kind: value, err: unix.ESOCKTNOSUPPORT}
	case c.int(2) != unix.NETLINK_ROUTE:
		return reply{kind: value, err: unix.EPROTONOSUPPORT} // as without the module for it
	case len(c.s.rtnls) >= maxRTNLs:
		return reply{kind: value, err: unix.ENFILE}
	}
	if err := c.newRTNL(typ, flags); err != nil {
		return result(err)
	}
	return reply{kind: done}
}

func (c *call) newRTNL(typ, flags int32) error {
	s := c.s
	defer noForks()()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|int(flags&unix.SOCK_NONBLOCK), 0)
	if err != nil {
		return err
	}
	defer unix.Close(pair[0])
	r := &rtnlSocket{s: s, end: pair[1], held: -1, timeout: forever}
	f, err := fileOf(pair[0])
	if err == nil {
		err = s.pairs.add(r.end, unix.EPOLLIN)
	}
	if err != nil {
		unix.Close(r.end)
		return err
	}
	r.inode = f.ino
	r.nl = s.bus.Socket(uint32(processID(c.tid)), int(typ))
	tid := c.tid
	r.nl.SetUser(func() uint32 { return uint32(status(tid, "Uid:")) })
	if n, err := unix.GetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil {
		r.nl.SetReceiveBuffer(n)
	}
	s.rtnls[r.inode] = r
	if s.keepEnds {
		r.held, err = unix.FcntlInt(uintptr(pair[0]), unix.F_DUPFD_CLOEXEC, 0)
	}
	cloexec, fd := flags&unix.SOCK_CLOEXEC != 0, -1
	if err == nil {
		fd, err = s.l.inject(c.ID, pair[0], cloexec)
	}
	if err != nil {
		r.close()
		return err
	}
	c.injected(fd, r.inode, cloexec)
	return nil
}

// noForks keeps this process from starting others until what it returns is called.
// Until it execs, such a one would hold a copy of every descriptor, also of the
// program's end, whose last close we want to hear of.
func noForks() (end func()) {
	syscall.ForkLock.RLock()
	return syscall.ForkLock.RUnlock
}

// close is for when nobody holds the program's end.
func (r *rtnlSocket) close() {
	delete(r.s.rtnls, r.inode)
	r.nl.Close()
	r.s.pairs.remove(r.end)
	unix.Close(r.end)
	if r.held >= 0 {
		unix.Close(r.held)
	}
	r.s.parked = slices.DeleteFunc(r.s.parked, func(p *receiving) bool {
		if p.from == source(r) {
			r.s.l.send(response{ID: p.ID, Error: -int32(unix.EBADF)})
		}
		return p.from == source(r)
	})
}

// rtnlSocket finds the rtnetlink socket that is the call's first argument.
func (c *call) rtnlSocket() (*rtnlSocket, bool) {
	if len(c.s.rtnls) == 0 {
		return nil, false
	}
	inode, _ := c.inode()
	r, ok := c.s.rtnls[inode]
	return r, ok
}

// event attends to a socket whose program's end has been read from, written to
// or closed.
func (r *rtnlSocket) event(events uint32) {
	if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		r.close()
		return
	}
	r.catchUp()
	r.stage()
	r.s.resume()
}

// catchUp finds out what the program has done with calls that are not trapped.
func (r *rtnlSocket) catchUp() {
	if r.staged && r.unread() == 0 {
		if d, err := r.nl.Front(); err == nil {
			r.nl.Take(len(d.Data), false)
		}
		r.staged = false
	}
	for range maxWrites {
		n, _, err := unix.Recvfrom(r.end, nil, unix.MSG_DONTWAIT|unix.MSG_PEEK|unix.MSG_TRUNC)
		if err != nil {
			return
		}
		b := make([]byte, min(n, r.longest()))
		unix.Recvfrom(r.end, b, unix.MSG_DONTWAIT)
		if n <= len(b) {
			r.nl.Send(nil, b)
		}
	}
	r.s.pairs.again(r.end, unix.EPOLLIN) // others want to be served, too
}

// maxWrites bounds what is read of a socket at a time: the program may write as
// fast as we read.
const maxWrites = 64

// longest is the most bytes that may be sent at once.
func (r *rtnlSocket) longest() int {
	sndbuf, _ := unix.GetsockoptInt(r.end, unix.SOL_SOCKET, unix.SO_SNDBUF)
	return max(sndbuf-32, 0) // as netlink_sendmsg has it
}

// unread is how much lies in the program's end.
func (r *rtnlSocket) unread() int {
	n, _ := unix.IoctlGetInt(r.end, unix.SIOCOUTQ)
	return n
}

// stage makes the program's end as readable as the socket is.
func (r *rtnlSocket) stage() {
	if r.staged || !r.nl.Readable() {
		return
	}
	b := []byte{0} // for a pending error
	if d, ok := r.nl.First(); ok {
		b = d.Data
	}
	err := unix.Send(r.end, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if err == unix.EMSGSIZE {
		err = unix.Send(r.end, b[:1], unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	}
	r.staged = err == nil
}

// unstage takes the copy back, by way of the program's descriptor fd.
func (r *rtnlSocket) unstage(tid int, fd int32) {
	if !r.staged {
		return
	}
	end := r.held
	if end < 0 {
		defer noForks()()
		var err error
		if end, err = duplicate(tid, fd); err != nil {
			return
		}
		defer unix.Close(end)
		if f, err := fileOf(end); err != nil || f.ino != r.inode {
			return
		}
	}
	unix.Recvfrom(end, nil, unix.MSG_DONTWAIT)
	r.staged = r.unread() != 0
}

// onRTNL serves the calls whose first argument is an rtnetlink socket.
func (c *call) onRTNL(r *rtnlSocket) reply {
	switch c.NR {
	case unix.SYS_BIND:
		addr, err := c.sockaddr(c.Args[1], c.int(2))
		if err != nil {
			return result(err)
		}
		if !c.valid() {
			return reply{}
		}
		return result(r.nl.Bind(addr))
	case unix.SYS_GETSOCKNAME:
		return c.sockname(r.nl.Name())
	case unix.SYS_GETPEERNAME:
		return c.sockname(rtnl.Address(0, 0))
	case unix.SYS_SETSOCKOPT:
		return c.setRTNLOption(r)
	case unix.SYS_GETSOCKOPT:
		return c.getRTNLOption(r)
	case unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG:
		n, err := c.rtnlSend(r)
		r.stage()
		c.s.resume()
		return received(n, err)
	case unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_RECVMMSG:
		return c.recv(r)
	}
	return reply{kind: value, err: unix.EOPNOTSUPP} // shutdown
}

// announce tells those who listen of devices that have come, changed or gone.
func (s *session) announce() {
	if !s.bus.Announce() {
		return
	}
	for _, r := range s.rtnls {
		r.stage()
	}
	s.resume()
}

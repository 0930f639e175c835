//go:build linux && (amd64 || arm64)

package interpose

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/procfs"
	"github.com/rxring/rxring/interpose/internal/rtnl"
)

// maxRTNLs bounds the rtnetlink sockets that are open at a time.
const maxRTNLs = 256

// rtnlSockets are the program's rtnetlink sockets.
type rtnlSockets struct {
	bus  *rtnl.Bus
	open map[uint64]*rtnlSocket // by inode
}

// readable reports whether one of them is readable.
func (rs *rtnlSockets) readable() bool {
	for _, r := range rs.open {
		if r.staged {
			return true
		}
	}
	return false
}

// rtnlSocket is an rtnetlink socket of the program: socket(AF_NETLINK, ...,
// NETLINK_ROUTE).
//
// The program holds one end of a socket pair. Unlike a packet socket's, we keep no
// duplicate of that end where we can make one when it is needed, so the kernel reports
// when the program has closed it. A copy of the datagram that a receive call would get
// lies in it, so it is readable when it should be, and read, which is not trapped,
// works. What the program writes arrives at our end.
type rtnlSocket struct {
	s       *session
	nl      *rtnl.Socket
	inode   uint64 // of the program's end
	end     int    // ours
	held    int    // our duplicate of the program's end, -1: we keep none
	staged  bool   // a copy of the first datagram lies in the program's end
	timeout time.Duration
}

// openRTNL serves socket(AF_NETLINK, ...) for the protocols that the filter traps.
func (c *call) openRTNL() reply {
	c.s.pairs.handle(c.s) // sockets that were closed make room, and free their ports
	c.s.sweepRTNL()
	typ, flags, err := c.socketType()
	switch {
	case err != nil:
		return result(err)
	case typ != unix.SOCK_RAW && typ != unix.SOCK_DGRAM:
		return fail(unix.ESOCKTNOSUPPORT)
	case c.int(2) != unix.NETLINK_ROUTE:
		return fail(unix.EPROTONOSUPPORT) // as without the module for the protocol
	case len(c.s.rtnl.open) >= maxRTNLs:
		return fail(unix.ENFILE)
	}
	if err := c.newRTNL(typ, flags); err != nil {
		return result(err)
	}
	return answered
}

func (c *call) newRTNL(typ, flags int32) error {
	s := c.s
	defer blockForks()()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|int(flags&unix.SOCK_NONBLOCK), 0)
	if err != nil {
		return err
	}
	defer unix.Close(pair[0])
	r := &rtnlSocket{s: s, end: pair[1], held: -1, timeout: forever}
	f, err := procfs.FileOf(pair[0])
	if err == nil {
		err = s.pairs.add(r.end, whatIsReadOrWritten)
	}
	if err != nil {
		unix.Close(r.end)
		return err
	}
	r.inode = f.Inode
	r.nl = s.rtnl.bus.Socket(uint32(procfs.OwnID(c.tid)), int(typ))
	tid := c.tid
	r.nl.SetUser(func() uint32 { return uint32(procfs.FSUID(tid)) })
	if n, err := unix.GetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil {
		r.nl.SetReceiveBuffer(n)
	}
	s.rtnl.open[r.inode] = r
	if s.records.keepEnds {
		r.held, err = unix.FcntlInt(uintptr(pair[0]), unix.F_DUPFD_CLOEXEC, 0)
	}
	cloexec, fd := flags&unix.SOCK_CLOEXEC != 0, -1
	if err == nil {
		fd, err = s.l.ReturnFD(c.ID, pair[0], cloexec)
	}
	if err != nil {
		r.close()
		return err
	}
	c.recordSocket(fd, r.inode, cloexec)
	return nil
}

// close closes a socket whose end no process holds.
func (r *rtnlSocket) close() {
	delete(r.s.rtnl.open, r.inode)
	r.nl.Close()
	r.s.pairs.remove(r.end)
	unix.Close(r.end)
	if r.held >= 0 {
		unix.Close(r.held)
	}
	w := &r.s.waiting
	w.receives = slices.DeleteFunc(w.receives, func(p *receiving) bool {
		if p.from == source(r) {
			r.s.l.Fail(p.ID, unix.EBADF)
		}
		return p.from == source(r)
	})
}

// event handles that the program has read from its end, written to it or closed it.
func (r *rtnlSocket) event(events uint32) {
	if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		r.close()
		return
	}
	r.catchUp()
	r.stage()
	r.s.retryReceives()
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
		b := make([]byte, min(n, r.maxMessage()))
		unix.Recvfrom(r.end, b, unix.MSG_DONTWAIT)
		if n <= len(b) {
			r.nl.Send(nil, b)
		}
	}
	r.s.pairs.rearm(r.end, whatIsReadOrWritten) // other sockets are served first
}

// maxWrites bounds the messages that are read of a socket at once: the program may write
// as fast as we read.
const maxWrites = 64

// maxMessage is the length of the longest message that may be sent, as in
// netlink_sendmsg.
func (r *rtnlSocket) maxMessage() int {
	sndbuf, _ := unix.GetsockoptInt(r.end, unix.SOL_SOCKET, unix.SO_SNDBUF)
	return max(sndbuf-32, 0)
}

// unread is how many bytes lie in the program's end.
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

// unstage removes the copy, by way of the program's descriptor fd.
func (r *rtnlSocket) unstage(tid int, fd int32) {
	if !r.staged {
		return
	}
	end := r.held
	if end < 0 {
		defer blockForks()()
		var err error
		if end, err = procfs.Duplicate(tid, fd); err != nil {
			return
		}
		defer unix.Close(end)
		if f, err := procfs.FileOf(end); err != nil || f.Inode != r.inode {
			return
		}
	}
	unix.Recvfrom(end, nil, unix.MSG_DONTWAIT)
	r.staged = r.unread() != 0
}

// bindRTNL serves bind.
func (c *call) bindRTNL(r *rtnlSocket) reply {
	addr, err := c.sockaddr(c.Args[1], c.int(2))
	if err != nil {
		return result(err)
	}
	if !c.valid() {
		return native
	}
	return result(r.nl.Bind(addr))
}

// rtnlName serves getsockname, rtnlPeer getpeername.
func (c *call) rtnlName(r *rtnlSocket) reply { return c.returnName(r.nl.Name()) }
func (c *call) rtnlPeer(*rtnlSocket) reply   { return c.returnName(rtnl.Address(0, 0)) }

// announceDevices notifies the members of multicast groups of devices that were added,
// changed or removed.
func (s *session) announceDevices() {
	if !s.rtnl.bus.Announce() {
		return
	}
	for _, r := range s.rtnl.open {
		r.stage()
	}
	s.retryReceives()
}

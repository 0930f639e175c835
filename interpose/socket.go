//go:build linux && (amd64 || arm64)

package interpose

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/procfs"
	"github.com/rxring/rxring/tpacket"
)

// maxSockets bounds the packet sockets that are open at a time. Each takes two
// descriptors of this process, and its ring's memory a third.
const maxSockets = 256

// sockets are the program's packet sockets.
type sockets struct {
	open    []*packetSocket // oldest first
	byInode map[uint64]*packetSocket
	byMemfd map[procfs.File]*packetSocket // the files of their rings' memory

	promisc map[*rxring.Device]backend // make a device promiscuous: see setFlags
}

func newSockets() sockets {
	return sockets{
		byInode: make(map[uint64]*packetSocket),
		byMemfd: make(map[procfs.File]*packetSocket),
		promisc: make(map[*rxring.Device]backend),
	}
}

// at is the packet socket that d is, or, swapped, whose ring's memory it is.
func (ss *sockets) at(d descriptor) (p *packetSocket, swapped bool) {
	if d.ringOf != nil {
		return d.ringOf, true
	}
	return ss.byInode[d.inode], false
}

// packetSocket is a packet socket of the program. What the program holds is one end of
// a socket pair, its stand-in: see standin.go.
type packetSocket struct {
	s       *session
	backend backend
	inode   uint64 // of the stand-in
	standIn int    // our duplicate of it
	waker   endWaker

	// What the backend would say if it were asked.
	ringed  bool          // it has a receive ring
	sends   bool          // it has a transmit ring
	timeout time.Duration // SO_RCVTIMEO: see parseTimeval
	grouped bool          // it is in a fanout group

	// Of the stand-in.
	errorShown bool   // it has an error: see standin_error.go
	edges      bool   // an epoll set waits for edges of it
	wakesSeen  uint64 // with a ring: the waker's count when readiness was last looked at
	disarmed   bool   // nothing may make it readable: no process seems to hold it

	// Of the stand-in without a ring: see standin_stage.go.
	arrivals   arrivalWaker
	staged     bool
	missedEdge bool // packets may have come that were no edge

	// Of frames that were written to the stand-in: see standin_write.go.
	held   []byte // one that waits for room; nil: none
	unsent bool   // it was logged that one was not sent

	// Of the ring's memory in the place of the stand-in: see standin_mmap.go.
	memfds   []procfs.File // of its rings, while a process may hold them
	nonblock int           // the stand-in's O_NONBLOCK at the last swap
	memfd    int           // our duplicate of the memory, in a process with a record; -1: none

	filter filterCounts // see sockfilter.go
	stamp  int64        // the time stamp of the packet received last; 0: none was
	report *SocketReport
	noRing bool // it was logged that there is no memory for its ring

	// For the search for closed sockets: see sweep.go.
	born     time.Time
	missing  bool // the last search did not find it
	misses   int  // searches in a row that did not find it
	missedBy int  // the number of the last one
	seenTID  int  // where it was found last: the first place to look
	seenFD   int32
}

// newPacketSocket makes the socket pair for b.
func newPacketSocket(b backend, t rxring.SockType, nonblock bool) (*packetSocket, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f, err := procfs.FileOf(pair[0])
	if err == nil && nonblock {
		err = unix.SetNonblock(pair[0], true)
	}
	if err != nil {
		unix.Close(pair[0])
		unix.Close(pair[1])
		return nil, err
	}
	return &packetSocket{
		backend: b, inode: f.Inode, standIn: pair[0], waker: endWaker{end: pair[1]}, memfd: -1,
		timeout: forever, born: time.Now(), report: &SocketReport{Type: t},
	}, nil
}

// socketCall serves socket for the families that the filter traps.
func (c *call) socketCall() reply {
	switch c.int(0) {
	case tpacket.AFPacket:
		return c.openPacketSocket()
	case unix.AF_NETLINK:
		return c.openRTNL()
	}
	return fail(unix.EAFNOSUPPORT) // as without the module for the family
}

// socketType splits socket's second argument as __sys_socket does.
func (c *call) socketType() (typ, flags int32, err error) {
	const (
		typeMask = 0xf // SOCK_TYPE_MASK (linux/net.h)
		sockMax  = 11  // SOCK_MAX
	)
	typ, flags = c.int(1)&typeMask, c.int(1)&^typeMask
	if flags&^(unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK) != 0 || typ >= sockMax {
		return 0, 0, unix.EINVAL
	}
	return typ, flags, nil
}

// openPacketSocket serves socket(AF_PACKET, ...). Linux requires CAP_NET_RAW for
// it; here the user who runs the program has given it access to the namespace.
func (c *call) openPacketSocket() reply {
	s := c.s
	typ, flags, err := c.socketType()
	if err != nil {
		return result(err)
	}
	if _, err := c.openMemory(); err != nil {
		return result(err)
	}
	s.makeRoom()
	if len(s.sockets.open) >= maxSockets {
		return fail(unix.ENFILE)
	}
	rx, err := s.openBackend(rxring.SockType(typ), tpacket.Htons(uint16(c.int(2))))
	if err != nil {
		return result(err)
	}
	p, err := newPacketSocket(rx, rxring.SockType(typ), flags&unix.SOCK_NONBLOCK != 0)
	if err != nil {
		rx.Close()
		return result(err)
	}
	s.addSocket(p)
	cloexec := flags&unix.SOCK_CLOEXEC != 0
	fd, err := s.l.ReturnFD(c.ID, p.standIn, cloexec)
	if err != nil { // the program has no free number, or a signal ended the call
		s.removeSocket(p)
		return result(err)
	}
	c.recordSocket(fd, p.inode, cloexec)
	s.reports.add(p.report)
	p.refresh() // it may receive already, and the program may read
	return answered
}

// addSocket makes p one of the session's sockets.
func (s *session) addSocket(p *packetSocket) {
	p.s, p.arrivals.wakeup = s, s.wakeup
	p.backend.SetMapped(s.memoryMapped)
	p.watchEnd()
	s.sockets.open = append(s.sockets.open, p)
	s.sockets.byInode[p.inode] = p
}

// closeSocket closes a socket that no process holds, and completes its report.
func (s *session) closeSocket(p *packetSocket) {
	if !s.detached() {
		p.report.Longest = p.longestInRing()
	}
	s.removeSocket(p)
	p.report.Totals, p.report.Sent = p.backend.Totals(), p.backend.Sent()
	p.report.Unknown = s.detached()
}

// removeSocket closes a socket.
func (s *session) removeSocket(p *packetSocket) {
	if p.sendWritten(); p.held != nil {
		s.warnf("write to a packet socket: frames were not sent: the device had no room for them when the socket was closed")
	}
	p.backend.Disarm(&p.waker)
	p.backend.Disarm(&p.arrivals)
	p.backend.Disarm(s.wakeup)
	p.backend.Close()
	s.pairs.remove(p.waker.end)
	p.waker.close()
	delete(s.sockets.byInode, p.inode)
	for _, f := range p.memfds {
		delete(s.sockets.byMemfd, f)
	}
	s.sockets.open = slices.DeleteFunc(s.sockets.open, func(o *packetSocket) bool { return o == p })
	s.swaps.forget(p)
	p.closeMemfd()
	unix.Close(p.standIn)
}

// bind serves bind, with the checks of packet_bind.
func (c *call) bind(p *packetSocket) reply {
	b, err := c.sockaddr(c.Args[1], c.int(2))
	if err != nil {
		return result(err)
	}
	addr, err := parseSockaddr(b)
	if err != nil {
		return result(err)
	}
	if !c.valid() {
		return native
	}
	err = p.backend.Bind(addr)
	switch {
	case err == nil:
		p.report.Device = ""
		if d, ok := c.s.ns.DeviceByIndex(int(addr.Ifindex)); ok {
			p.report.Device = d.Name()
		}
	case errnoOf(err) == unix.ENODEV:
		c.s.missingIndex(addr.Ifindex)
	}
	return result(err)
}

// connect serves connect, which packet sockets do not have. The kernel reads the
// address first.
func (c *call) connect(*packetSocket) reply {
	if _, err := c.sockaddr(c.Args[1], c.int(2)); err != nil {
		return result(err)
	}
	return fail(unix.EOPNOTSUPP)
}

// getsockname serves getsockname.
func (c *call) getsockname(p *packetSocket) reply {
	addr := p.backend.Addr()
	return c.returnName(tpacket.Bytes(&addr)[:addrOffset+min(int(addr.Halen), len(addr.Addr))])
}

// returnName serves getsockname and getpeername with the address b: it writes as much
// of it as there is room for, and its whole length.
func (c *call) returnName(b []byte) reply {
	room, err := c.readUint32(c.Args[2])
	if err != nil {
		return result(err)
	}
	n := int(int32(room))
	if n < 0 {
		return fail(unix.EINVAL)
	}
	return c.finish(piece{c.Args[1], b[:min(n, len(b))]}, piece{c.Args[2], bytes32(uint32(len(b)))})
}

// sizeofSockaddrStorage is sizeof(struct sockaddr_storage): no address is longer.
const sizeofSockaddrStorage = 128

// addrOffset is offsetof(struct sockaddr_ll, sll_addr).
const addrOffset = 12

// sockaddr reads the n bytes of an address at addr, as move_addr_to_kernel does.
func (c *call) sockaddr(addr uint64, n int32) ([]byte, error) {
	if n < 0 || n > sizeofSockaddrStorage {
		return nil, unix.EINVAL
	}
	b := make([]byte, n)
	return b, c.read(addr, b)
}

// parseSockaddr reads a sockaddr_ll that a program passes.
func parseSockaddr(b []byte) (tpacket.SockaddrLL, error) {
	if len(b) < tpacket.SizeofSockaddrLL {
		return tpacket.SockaddrLL{}, unix.EINVAL
	}
	return tpacket.Parse[tpacket.SockaddrLL](b), nil
}

//go:build linux && (amd64 || arm64)

package interpose

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/tpacket"
)

// socket is a packet socket of the program.
//
// The program holds one end of a pair of datagram sockets, called its stand-in.
// It is readable while an empty datagram, sent through the other end, lies in
// it: whoever polls it, in whatever way, waits in the kernel.
type socket struct {
	rx    packetSocket
	inode uint64 // of the stand-in: what says, in /proc, that a descriptor is this socket
	end   int    // our duplicate of the stand-in
	waker waker
	s     *session

	// What rx would say if it were asked.
	ringed  bool          // it has a receive ring
	sends   bool          // it has a transmit ring
	timeout time.Duration // SO_RCVTIMEO: see parseTimeval

	// Of a socket without a ring: see stage.
	comes  comes
	staged bool
	edges  bool // an epoll set waits for edges of it
	deaf   bool // packets may have come that were no edge

	woken uint64 // with a ring: the waker's times when its readiness was last looked at

	// Of setFilter: whether the filter accepts nothing, and the packets refused before it.
	refusesAll     bool
	filteredBefore uint64

	failed bool // the stand-in shows an error

	memfds  []file // of its rings, while somebody may hold them
	swapped int    // the stand-in's O_NONBLOCK when it was last swapped
	memory  int    // our duplicate of what it was last swapped for in a process with a record, or -1

	stamp   int64 // when the packet that was received last had passed; 0: none was
	report  *SocketReport
	refused bool   // said that there is no memory for its ring
	grouped bool   // it is in a fanout group
	unsent  bool   // said that something written to it was not sent
	held    []byte // a frame that was written and waits for room; nil: none
	born    time.Time
	absent  int  // sweeps in a row that found nobody holding it
	muted   bool // nobody seems to hold it

	// Where it was last seen: the first place to look for it.
	seenTID int
	seenFD  int32
}

// newSocket makes the pair for rx.
func newSocket(rx packetSocket, t rxring.SockType, nonblock bool) (*socket, error) {
	typ := unix.SOCK_DGRAM | unix.SOCK_CLOEXEC
	pair, err := unix.Socketpair(unix.AF_UNIX, typ, 0)
	if err != nil {
		return nil, err
	}
	k := &socket{rx: rx, end: pair[0], waker: waker{end: pair[1]}, memory: -1, timeout: forever, born: time.Now(), report: &SocketReport{Type: t}}
	f, err := fileOf(k.end)
	if err == nil && nonblock {
		err = unix.SetNonblock(k.end, true)
	}
	if err != nil {
		unix.Close(pair[0])
		unix.Close(pair[1])
		return nil, err
	}
	k.inode = f.ino
	return k, nil
}

// nonblocking says whether O_NONBLOCK is set on the open file that all
// duplicates of the program's descriptor share.
func nonblocking(fd int) int {
	flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	return flags & unix.O_NONBLOCK
}

// socketCall serves socket for the families that the filter traps.
func (c *call) socketCall() reply {
	switch c.int(0) {
	case tpacket.AFPacket:
		return c.packetCall()
	case unix.AF_NETLINK:
		return c.netlinkCall()
	}
	return reply{kind: value, err: unix.EAFNOSUPPORT} // as without the module for it
}

// socketType is socket's second argument, taken apart as __sys_socket does.
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

// packetCall serves socket(AF_PACKET, ...). Linux asks for CAP_NET_RAW here;
// the namespace's owner, who runs the program, has granted what it shows.
func (c *call) packetCall() reply {
	s := c.s
	typ, flags, err := c.socketType()
	if err != nil {
		return result(err)
	}
	if _, err := c.memory(); err != nil {
		return result(err)
	}
	s.sweepForRoom()
	if len(s.sockets) >= maxSockets {
		s.sweep()
		s.sweep()
	}
	if len(s.sockets) >= maxSockets {
		return reply{kind: value, err: unix.ENFILE}
	}
	rx, err := s.open(rxring.SockType(typ), tpacket.Htons(uint16(c.int(2))))
	if err != nil {
		return result(err)
	}
	k, err := newSocket(rx, rxring.SockType(typ), flags&unix.SOCK_NONBLOCK != 0)
	if err != nil {
		rx.Close()
		return result(err)
	}
	rx.SetMapped(s.memoryMapped)
	s.pairs.watch(k)
	k.s, k.comes.news = s, s.news
	s.sockets = append(s.sockets, k)
	s.byInode[k.inode] = k
	cloexec := flags&unix.SOCK_CLOEXEC != 0
	fd, err := s.l.inject(c.ID, k.end, cloexec)
	if err != nil {
		// The program's table is full, or a signal ended the call.
		s.drop(k)
		return result(err)
	}
	c.injected(fd, k.inode, cloexec)
	if len(s.reports) < MaxReports {
		s.reports = append(s.reports, k.report)
	} else {
		s.omitted++
	}
	k.refresh() // it may hear already, and read
	return reply{kind: done}
}

// sizeofSockaddrStorage is sizeof(struct sockaddr_storage): no address is longer.
const sizeofSockaddrStorage = 128

// sockaddr reads the n bytes of an address at addr, as move_addr_to_kernel does.
func (c *call) sockaddr(addr uint64, n int32) ([]byte, error) {
	if n < 0 || n > sizeofSockaddrStorage {
		return nil, unix.EINVAL
	}
	b := make([]byte, n)
	return b, c.read(addr, b)
}

// bind serves bind, with the checks of packet_bind.
func (c *call) bind(k *socket) reply {
	b, err := c.sockaddr(c.Args[1], c.int(2))
	if err != nil {
		return result(err)
	}
	addr, err := parseSockaddr(b)
	if err != nil {
		return result(err)
	}
	if !c.valid() {
		return reply{}
	}
	err = k.rx.Bind(addr)
	switch {
	case err == nil:
		k.report.Device = ""
		if d, ok := c.s.ns.DeviceByIndex(int(addr.Ifindex)); ok {
			k.report.Device = d.Name()
		}
	case errnoOf(err) == unix.ENODEV:
		c.s.missingIndex(addr.Ifindex)
	}
	return result(err)
}

// connect serves connect, which packet sockets do not have. The kernel reads the
// address first.
func (c *call) connect() reply {
	if _, err := c.sockaddr(c.Args[1], c.int(2)); err != nil {
		return result(err)
	}
	return reply{kind: value, err: unix.EOPNOTSUPP}
}

// parseSockaddr reads a sockaddr_ll that a program passes.
func parseSockaddr(b []byte) (tpacket.SockaddrLL, error) {
	if len(b) < tpacket.SizeofSockaddrLL {
		return tpacket.SockaddrLL{}, unix.EINVAL
	}
	return tpacket.Parse[tpacket.SockaddrLL](b), nil
}

// getsockname serves getsockname.
func (c *call) getsockname(k *socket) reply {
	addr := k.rx.Addr()
	return c.sockname(tpacket.Bytes(&addr)[:addrOffset+min(int(addr.Halen), len(addr.Addr))])
}

// sockname hands an address over, to getsockname or getpeername: as much of it
// as the caller has room for, and its whole length.
func (c *call) sockname(b []byte) reply {
	var room [4]byte
	if err := c.read(c.Args[2], room[:]); err != nil {
		return result(err)
	}
	n := int32(native32(room[:]))
	if n < 0 {
		return reply{kind: value, err: unix.EINVAL}
	}
	if err := c.write(c.Args[1], b[:min(int(n), len(b))]); err != nil {
		return result(err)
	}
	return result(c.write(c.Args[2], bytes32(uint32(len(b)))))
}

// addrOffset is offsetof(struct sockaddr_ll, sll_addr).
const addrOffset = 12

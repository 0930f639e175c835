//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"net"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// A program lists devices by asking for all links over rtnetlink: getifaddrs
// does, Go's net.Interfaces, tcpdump -D. The kernel answers; before its answer
// the program gets datagrams of ours, with the namespace's devices.

// linkDump is a request for all links whose answer the program has not fetched.
type linkDump struct {
	seq  uint32 // nlmsg_seq
	next int    // the first device that has not been told
}

const (
	// maxDumps bounds the requests remembered: some are never fetched.
	maxDumps = 256
	// maxLinkBytes bounds a datagram: smaller than the kernel's first one, for
	// which everybody has room.
	maxLinkBytes = 3 << 10

	rtmGetlinkBytes = unix.NLMSG_HDRLEN + 1 // struct rtgenmsg: the least that is sent
	maxGetlinkBytes = 128                   // what is looked at
)

// parseLinkDump says whether a message asks for all links (RTM_GETLINK with
// NLM_F_DUMP), and its sequence number.
func parseLinkDump(b []byte) (seq uint32, ok bool) {
	if len(b) < rtmGetlinkBytes {
		return 0, false
	}
	n := min(uint64(native32(b)), uint64(len(b)))
	typ, flags := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:])
	family := b[unix.NLMSG_HDRLEN]
	if n < rtmGetlinkBytes || typ != unix.RTM_GETLINK || flags&unix.NLM_F_DUMP == 0 ||
		family != unix.AF_UNSPEC && family != unix.AF_PACKET {
		return 0, false
	}
	// An attribute, but for one, narrows it to devices that are not ours.
	attrs := b[min(n, unix.NLMSG_HDRLEN+unix.SizeofIfInfomsg):n]
	for len(attrs) >= unix.SizeofRtAttr {
		size, typ := binary.NativeEndian.Uint16(attrs), binary.NativeEndian.Uint16(attrs[2:])
		if typ != unix.IFLA_EXT_MASK || size < unix.SizeofRtAttr {
			return 0, false
		}
		attrs = attrs[min(len(attrs), (int(size)+3)&^3):]
	}
	return native32(b[8:]), true
}

// sending looks at what the program sends: a request for all links is noted.
func (c *call) sending() {
	d := c.recvfrom() // sendto's are in the same places
	if c.NR == unix.SYS_SENDMSG {
		var err error
		if d, err = c.msghdr(c.Args[1]); err != nil {
			return
		}
	}
	var b []byte
	for _, v := range d.iovs {
		piece := make([]byte, min(v.len, uint64(maxGetlinkBytes-len(b))))
		if c.read(v.base, piece) != nil {
			return
		}
		b = append(b, piece...)
	}
	seq, ok := parseLinkDump(b)
	if !ok {
		return
	}
	inode, ok := c.inode()
	if !ok {
		return
	}
	fd, err := duplicate(c.tid, c.int(0))
	if err != nil {
		return
	}
	defer unix.Close(fd)
	domain, err1 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	protocol, err2 := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err1 != nil || err2 != nil || domain != unix.AF_NETLINK || protocol != unix.NETLINK_ROUTE || !c.valid() {
		return
	}
	if len(c.s.dumps) >= maxDumps {
		clear(c.s.dumps)
	}
	c.s.dumps[inode] = linkDump{seq: seq}
}

// links serves the receive call that would fetch the kernel's answer. Only when
// that is there: then what the program gets is what it waits for.
func (c *call) links() reply {
	inode, _ := c.inode()
	dump, ok := c.s.dumps[inode]
	if !ok {
		return reply{}
	}
	var head [unix.NLMSG_HDRLEN]byte
	fd, err := duplicate(c.tid, c.int(0))
	if err != nil {
		return reply{}
	}
	defer unix.Close(fd)
	n, _, err := unix.Recvfrom(fd, head[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil || n < len(head) || native32(head[8:]) != dump.seq {
		return reply{}
	}
	data, next := linkMessages(c.s.listed(), dump, native32(head[12:]))
	if typ := binary.NativeEndian.Uint16(head[4:]); typ == unix.NLMSG_ERROR || len(data) == 0 {
		delete(c.s.dumps, inode)
		return reply{}
	}
	d, flags := c.recvfrom(), c.int(3)
	if c.NR == unix.SYS_RECVMSG {
		if d, err = c.msghdr(c.Args[1]); err != nil {
			return result(err)
		}
		flags = c.int(2)
	}
	if !c.valid() {
		return reply{}
	}
	kernel := make([]byte, unix.SizeofSockaddrNetlink)
	binary.NativeEndian.PutUint16(kernel, unix.AF_NETLINK)
	copied := min(uint64(len(data)), d.room())
	err = c.deliver(d, datagram{data: data[:copied], name: kernel, cut: copied < uint64(len(data))})
	val := int64(copied)
	if flags&unix.MSG_TRUNC != 0 {
		val = int64(len(data))
	}
	if flags&unix.MSG_PEEK == 0 {
		c.s.dumps[inode] = linkDump{seq: dump.seq, next: next}
	}
	return received(val, err)
}

// listed is the devices that a list of links may have: those with an index that
// no device of the system's has, or the program would take one for the other.
func (s *session) listed() []*rxring.Device {
	taken := make(map[int]bool)
	system, _ := net.Interfaces()
	for _, i := range system {
		taken[i.Index] = true
	}
	var devices []*rxring.Device
	for _, d := range s.ns.Devices() {
		if !taken[d.Index()] {
			devices = append(devices, d)
		}
	}
	return devices
}

// linkMessages is a datagram with RTM_NEWLINK messages for the devices from
// dump.next on, as many as it holds, and the number of the device after them.
func linkMessages(devices []*rxring.Device, dump linkDump, port uint32) (b []byte, next int) {
	for next = dump.next; next < len(devices); next++ {
		m := linkMessage(devices[next], dump.seq, port)
		if len(b)+len(m) > maxLinkBytes {
			break
		}
		b = append(b, m...)
	}
	return b, next
}

// Operational states (linux/if.h).
const (
	operDown = 2 // IF_OPER_DOWN
	operUp   = 6 // IF_OPER_UP
)

// linkMessage lays out struct nlmsghdr, struct ifinfomsg and attributes, as
// rtnl_fill_ifinfo (net/core/rtnetlink.c) does.
func linkMessage(d *rxring.Device, seq, port uint32) []byte {
	flags, state := uint32(flags(d)), byte(operDown)
	if d.Up() {
		flags, state = flags|unix.IFF_LOWER_UP, operUp
	}
	b := make([]byte, unix.NLMSG_HDRLEN+unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint16(b[4:], unix.RTM_NEWLINK)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_MULTI)
	binary.NativeEndian.PutUint32(b[8:], seq)
	binary.NativeEndian.PutUint32(b[12:], port)
	info := b[unix.NLMSG_HDRLEN:]
	binary.NativeEndian.PutUint16(info[2:], uint16(d.Type()))
	binary.NativeEndian.PutUint32(info[4:], uint32(d.Index()))
	binary.NativeEndian.PutUint32(info[8:], flags)
	attr := func(typ uint16, val []byte) {
		b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(val)))
		b = binary.NativeEndian.AppendUint16(b, typ)
		b = append(b, val...)
		b = append(b, make([]byte, -len(val)&3)...)
	}
	attr(unix.IFLA_IFNAME, append([]byte(d.Name()), 0))
	attr(unix.IFLA_TXQLEN, bytes32(txQueueLen))
	attr(unix.IFLA_OPERSTATE, []byte{state})
	attr(unix.IFLA_MTU, bytes32(uint32(d.MTU())))
	if addr := d.Addr(); d.Type() == rxring.Ethernet {
		attr(unix.IFLA_ADDRESS, addr[:])
		attr(unix.IFLA_BROADCAST, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

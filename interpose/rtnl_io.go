//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

var _ source = (*rtnlSocket)(nil)

func (r *rtnlSocket) refresh()                      { r.stage() }
func (*rtnlSocket) arm(*bell)                       {} // what comes, comes by this goroutine
func (r *rtnlSocket) receiveTimeout() time.Duration { return r.timeout }
func (r *rtnlSocket) nonblocking(tid int, fd int32) bool {
	if r.held >= 0 {
		return nonblocking(r.held) != 0
	}
	flags, _ := descriptorFlags(tid, fd)
	return flags&unix.O_NONBLOCK != 0
}

// receive hands the first datagram over, as netlink_recvmsg does.
func (r *rtnlSocket) receive(p *receiving, d destination) (int64, error) {
	if p.flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	r.catchUp()
	got, err := r.nl.Front()
	if err != nil {
		if err != unix.EAGAIN {
			r.unstage(p.tid, p.int(0)) // the error was it
		}
		return 0, err
	}
	room := int(min(d.room(), uint64(len(got.Data))))
	g := datagram{data: got.Data[:room], name: got.From(), cut: room < len(got.Data)}
	if r.nl.Option(unix.NETLINK_PKTINFO) {
		g.control = func(room int) ([]byte, bool) { return packetInfo(got.Group, room) }
	}
	err = p.deliver(d, g)
	peek := p.flags&unix.MSG_PEEK != 0
	if !errors.Is(err, unix.EINTR) {
		if !peek {
			r.unstage(p.tid, p.int(0))
		}
		r.nl.Take(int(min(d.room(), maxRW)), peek)
	}
	if p.flags&unix.MSG_TRUNC != 0 {
		room = len(got.Data)
	}
	return int64(room), err
}

// packetInfo lays out the control message NETLINK_PKTINFO, a struct nl_pktinfo,
// in room bytes, as put_cmsg does.
func packetInfo(group uint32, room int) (b []byte, cut bool) {
	const sizeofCmsghdr, size, space = 16, 20, 24
	if room < sizeofCmsghdr {
		return nil, true
	}
	b = binary.NativeEndian.AppendUint64(b, uint64(min(size, room)))
	b = binary.NativeEndian.AppendUint32(b, unix.SOL_NETLINK)
	b = binary.NativeEndian.AppendUint32(b, unix.NETLINK_PKTINFO)
	b = binary.NativeEndian.AppendUint32(b, group)
	b = append(b, 0, 0, 0, 0)
	return b[:min(space, room)], room < size
}

// rtnlSend serves the calls that send, and returns their value.
func (c *call) rtnlSend(r *rtnlSocket) (int64, error) {
	r.catchUp()
	switch c.NR {
	case unix.SYS_SENDTO:
		d := c.recvfrom() // sendto's are in the same places
		d.nameLen = int(int32(c.Args[5]))
		return c.sendRequests(r, d, c.int(3))
	case unix.SYS_SENDMSG:
		d, err := c.msghdr(c.Args[1])
		if err != nil {
			return 0, err
		}
		return c.sendRequests(r, d, c.int(2))
	}
	want, sent := uint64(min(uint32(c.Args[2]), maxMessages)), uint64(0)
	for at := c.Args[1]; sent < want; at += sizeofMmsghdr {
		d, err := c.msghdr(at)
		var n int64
		if err == nil {
			n, err = c.sendRequests(r, d, c.int(3))
		}
		if err == nil {
			err = c.write(at+mmsghdrLen, bytes32(uint32(n)))
		}
		if err != nil {
			if sent > 0 {
				break
			}
			return 0, err
		}
		sent++
	}
	return int64(sent), nil
}

// sendRequests sends what is in d's memory to d's name, with the checks of
// netlink_sendmsg.
func (c *call) sendRequests(r *rtnlSocket, d destination, flags int32) (int64, error) {
	if flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	var to []byte
	if d.name != 0 && d.nameLen != 0 {
		var err error
		if to, err = c.sockaddr(d.name, int32(d.nameLen)); err != nil {
			return 0, err
		}
	}
	n := d.room()
	if n > uint64(r.longest()) {
		return 0, unix.EMSGSIZE
	}
	b := make([]byte, 0, n)
	for _, v := range d.iovs {
		at := len(b)
		b = b[:at+int(v.len)]
		if err := c.read(v.base, b[at:]); err != nil {
			return 0, err
		}
	}
	if !c.valid() {
		return 0, unix.EINTR
	}
	if err := r.nl.Send(to, b); err != nil {
		return 0, err
	}
	return int64(n), nil
}

//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/procfs"
)

func (r *rtnlSocket) refresh()                      { r.stage() }
func (*rtnlSocket) arm(wakeup)                      {} // this goroutine makes its datagrams
func (r *rtnlSocket) receiveTimeout() time.Duration { return r.timeout }
func (r *rtnlSocket) nonblocking(tid int, fd int32) bool {
	if r.held >= 0 {
		return nonblocking(r.held) != 0
	}
	flags, _ := procfs.DescriptorFlags(tid, fd)
	return flags&unix.O_NONBLOCK != 0
}

// receive delivers the first datagram, as netlink_recvmsg does.
func (r *rtnlSocket) receive(p *receiving, m message) (int64, error) {
	if p.flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	r.catchUp()
	got, err := r.nl.Front()
	if err != nil {
		if err != unix.EAGAIN {
			r.unstage(p.tid, p.int(0)) // the error was staged
		}
		return 0, err
	}
	room := int(min(m.room(), uint64(len(got.Data))))
	g := datagram{data: got.Data[:room], name: got.From(), truncated: room < len(got.Data), n: int64(room)}
	if p.flags&unix.MSG_TRUNC != 0 {
		g.n = int64(len(got.Data))
	}
	if r.nl.Option(unix.NETLINK_PKTINFO) {
		g.control = func(room int) ([]byte, bool) { return packetInfo(got.Group, room) }
	}
	err = p.deliver(m, g)
	peek := p.flags&unix.MSG_PEEK != 0
	if !errors.Is(err, unix.EINTR) {
		if !peek {
			r.unstage(p.tid, p.int(0))
		}
		r.nl.Take(int(min(m.room(), maxRW)), peek)
	}
	return g.n, err
}

// packetInfo lays out the control message NETLINK_PKTINFO, a struct nl_pktinfo, in room
// bytes, as put_cmsg does.
func packetInfo(group uint32, room int) (b []byte, truncated bool) {
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

// sendRTNL serves sendto, sendmsg and sendmmsg.
func (c *call) sendRTNL(r *rtnlSocket) reply {
	r.catchUp()
	var n int64
	var err error
	if c.NR == unix.SYS_SENDMMSG {
		n, err = c.sendMessages(r)
	} else {
		n, err = c.sendMessage(r, 0)
	}
	r.stage()
	c.s.retryReceives()
	return valueOr(n, err)
}

// sendMessages serves sendmmsg, and returns its value.
func (c *call) sendMessages(r *rtnlSocket) (sent int64, err error) {
	want := int64(min(uint32(c.Args[2]), maxMessages))
	for sent < want {
		n, err := c.sendMessage(r, int(sent))
		if err == nil {
			err = c.write(c.mmsghdrAt(int(sent))+mmsghdrLen, bytes32(uint32(n)))
		}
		if err != nil && sent == 0 {
			return 0, err
		}
		if err != nil {
			break
		}
		sent++
	}
	return sent, nil
}

// sendMessage sends the data of message i to its address, with the checks of
// netlink_sendmsg.
func (c *call) sendMessage(r *rtnlSocket, i int) (int64, error) {
	m, err := c.message(i)
	switch {
	case err != nil:
		return 0, err
	case c.messageFlags()&unix.MSG_OOB != 0:
		return 0, unix.EOPNOTSUPP
	}
	var to []byte
	if m.name != 0 && m.nameLen != 0 {
		if to, err = c.sockaddr(m.name, int32(m.nameLen)); err != nil {
			return 0, err
		}
	}
	n := m.room()
	if n > uint64(r.maxMessage()) {
		return 0, unix.EMSGSIZE
	}
	b := make([]byte, 0, n)
	for _, v := range m.iovs {
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

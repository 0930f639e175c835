//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/tpacket"
)

// maxFrame is more than any frame that a socket sends, maxPlain more than any that is
// no large segment: what is longer is cut to it, and refused as it would be whole. Of
// frames up to usualFrame, which is more than a pair holds unless somebody changed
// net.core.wmem_default, the memory is kept.
const (
	maxFrame   = 5 << 20
	maxPlain   = 1 << 17
	usualFrame = 1 << 18
)

// send serves sendto, sendmsg and sendmmsg.
func (c *call) send(k *socket) reply {
	if k.failed {
		defer k.refresh() // it may take the error
	}
	w := &sending{call: c, socket: k, flags: c.int(3)}
	if c.NR == unix.SYS_SENDMSG {
		w.flags = c.int(2)
	}
	if c.NR != unix.SYS_SENDTO && uint32(w.flags)&msgCmsgCompat != 0 {
		return reply{kind: value, err: unix.EINVAL}
	}
	if c.NR == unix.SYS_SENDMMSG && uint32(c.Args[2]) == 0 {
		return reply{kind: value}
	}
	answer, ok := w.try()
	if !ok {
		c.s.sends = append(c.s.sends, w)
		return reply{kind: done}
	}
	return answer
}

// sent is the answer to a send call.
func sent(n int, err error) reply {
	r := result(err)
	r.val = int64(n)
	return r
}

// sendto sends what sendto's arguments say.
func (c *call) sendto(k *socket) (int, error) {
	iovs := []iovec{{c.Args[1], min(c.Args[2], maxRW)}}
	if c.Args[4] == 0 {
		return c.sendTo(k, iovs, nil)
	}
	name, err := c.sockaddr(c.Args[4], c.int(5))
	if err != nil {
		return 0, err
	}
	to, err := parseReceiver(name)
	if err != nil {
		return 0, err
	}
	return c.sendTo(k, iovs, &to)
}

// sendmsg sends what the struct msghdr at addr says.
func (c *call) sendmsg(k *socket, addr uint64) (int, error) {
	m, err := c.msghdr(addr)
	if err != nil {
		return 0, err
	}
	if m.controlLen > maxSentControl {
		return 0, unix.ENOBUFS
	}
	name, control := make([]byte, min(m.nameLen, sizeofSockaddrStorage)), make([]byte, m.controlLen)
	if err := c.read(m.name, name); err != nil {
		return 0, err
	}
	if err := c.read(m.control, control); err != nil {
		return 0, err
	}
	var to *tpacket.SockaddrLL
	if len(name) > 0 {
		a, err := parseReceiver(name)
		if err != nil {
			return 0, err
		}
		to = &a
	}
	if err := checkControl(control); err != nil {
		return 0, c.unroutable(k, to, err)
	}
	return c.sendTo(k, m.iovs, to)
}

// sendTo reads a frame out of the program's memory and sends it. Who sends from a
// transmit ring need not have one.
func (c *call) sendTo(k *socket, iovs []iovec, to *tpacket.SockaddrLL) (int, error) {
	frame := c.s.frame[:0]
	if !k.sends {
		most := uint64(maxPlain)
		if n := (&destination{iovs: iovs}).room(); n > maxPlain && k.hasVnetHeader() {
			most = min(n, maxFrame)
			frame = make([]byte, 0, most)
		}
		for _, v := range iovs {
			piece := frame[len(frame):min(uint64(len(frame))+v.len, most)]
			if err := c.read(v.base, piece); err != nil {
				return 0, c.unroutable(k, to, err)
			}
			frame = frame[:len(frame)+len(piece)]
		}
	}
	if !c.valid() {
		return 0, unix.EINTR // nobody gets it
	}
	n, err := k.rx.SendTo(frame, to)
	if err == nil {
		c.noteSent(k, to)
	}
	if to != nil && err != nil && errnoOf(err) == unix.ENXIO {
		c.s.missingIndex(to.Ifindex)
	}
	return n, err
}

// noteSent keeps the name of the device that frames left through, for the report: the one
// that to names, or the one that the socket is bound to.
func (c *call) noteSent(k *socket, to *tpacket.SockaddrLL) {
	name := k.report.Device
	if to != nil {
		d, ok := c.s.ns.DeviceByIndex(int(to.Ifindex))
		if !ok { // it was removed meanwhile
			return
		}
		name = d.Name()
	}
	if slices.Contains(strings.Split(k.report.SentThrough, ", "), name) {
		return
	}
	if k.report.SentThrough != "" {
		name = k.report.SentThrough + ", " + name
	}
	k.report.SentThrough = name
}

// hasVnetHeader says whether frames begin with a virtio_net_hdr.
func (k *socket) hasVnetHeader() bool {
	var size [4]byte
	_, err := k.rx.Getsockopt(tpacket.SolPacket, tpacket.OptVnetHdrSz, size[:])
	return err == nil && native32(size[:]) != 0
}

// unroutable is err, unless there is no device to send through: Linux looks for it
// first.
func (c *call) unroutable(k *socket, to *tpacket.SockaddrLL, err error) error {
	if _, why := k.rx.Route(to); why != nil {
		return why
	}
	return err
}

// parseReceiver reads the sockaddr_ll that a program sends to, with the checks of
// packet_snd: an address longer than the struct has its place behind it.
func parseReceiver(b []byte) (tpacket.SockaddrLL, error) {
	a, err := parseSockaddr(b)
	if err != nil || int(a.Halen)+addrOffset > len(b) {
		return a, unix.EINVAL
	}
	a.Halen = min(a.Halen, uint8(len(a.Addr)))
	return a, nil
}

// maxSentControl is net.core.optmem_max, which bounds control messages, as Linux
// 6.7 and later set it.
const maxSentControl = 128 << 10

// checkControl looks through the control messages that a program sends with a
// frame, as sock_cmsg_send does. They have no effect on a device without queues and
// marks.
func checkControl(b []byte) error {
	const (
		header  = 16 // struct cmsghdr
		align   = 8
		txtime  = 61                                // SCM_TXTIME (asm-generic/socket.h)
		stampNs = 65                                // SO_TIMESTAMPING_NEW
		txStamp = 1<<0 | 1<<1 | 1<<8 | 1<<9 | 1<<18 // SOF_TIMESTAMPING_TX_RECORD_MASK
	)
	for len(b) >= header {
		n := binary.NativeEndian.Uint64(b)
		level, typ := int32(native32(b[8:])), int32(native32(b[12:]))
		if n < header || n > uint64(len(b)) {
			return unix.EINVAL
		}
		if level == unix.SOL_SOCKET {
			value := uint32(0)
			switch typ {
			case unix.SCM_RIGHTS, unix.SCM_CREDENTIALS: // of other families
			case unix.SO_MARK, unix.SO_PRIORITY, unix.SO_TIMESTAMPING, stampNs:
				if n != header+4 {
					return unix.EINVAL
				}
				value = native32(b[header:])
			case txtime: // without SO_TXTIME
				return unix.EINVAL
			default:
				return unix.EINVAL
			}
			if (typ == unix.SO_TIMESTAMPING || typ == stampNs) && value&^txStamp != 0 {
				return unix.EINVAL
			}
		}
		b = b[min((n+align-1)&^(align-1), uint64(len(b))):]
	}
	return nil
}

// maxWritten bounds the frames that are sent of what was written to a socket
// before others are served. A pair holds fewer (net.unix.max_dgram_qlen: 10, or the
// 512 of systemd), so all that a thread wrote before its call is among them.
const maxWritten = 1024

// sendWritten sends what the program wrote to the stand-in: write is not trapped,
// and what it writes comes out at the other end of the pair. The call is over by
// then, so why a frame is refused can only be logged. A frame that the device has no
// room for is held, and the program's next writes wait in the pair, or in the kernel
// once that is full. It says how many there were.
func (k *socket) sendWritten() (n int) {
	if k.held != nil {
		if !k.sendOne(k.held) {
			return 0
		}
		k.held = nil
	}
	for n < maxWritten {
		size, _, err := unix.Recvfrom(k.waker.end, k.s.frame, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		if err != nil {
			return n
		}
		n++
		if k.failed {
			k.showError(k.rx.Events()) // the write before this one took it
		}
		if size > len(k.s.frame) { // somebody changed net.core.wmem_default
			k.notSent(unix.EMSGSIZE)
			continue
		}
		if frame := k.s.frame[:size]; !k.sendOne(frame) {
			k.held = slices.Clone(frame)
			return n
		}
	}
	k.s.pairs.again(k.waker.end, unix.EPOLLIN)
	return n
}

// sendOne sends what was written, unless there is no room for it now.
func (k *socket) sendOne(frame []byte) (ok bool) {
	_, err := k.rx.Send(frame)
	if errors.Is(err, unix.EAGAIN) {
		k.s.holding = true
		return false
	}
	if err != nil {
		k.notSent(err)
	}
	return true
}

// notSent logs why something that was written was not sent, once a socket.
func (k *socket) notSent(err error) {
	if !k.unsent {
		k.unsent = true
		k.s.cfg.logf("write to a packet socket: %v", err)
	}
}

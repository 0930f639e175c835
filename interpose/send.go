//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/tpacket"
)

// maxFrame is more than the longest frame that a socket sends, maxPlain more than the
// longest that is not a large segment. Longer ones are cut to that length, and refused
// as they would be whole. frameBuffer is more than a pair holds with the default
// net.core.wmem_default.
const (
	maxFrame    = 5 << 20
	maxPlain    = 1 << 17
	frameBuffer = 1 << 18
)

// sending is a call of sendto, sendmsg or sendmmsg. If a device has no room for a
// frame, as a live interface whose send buffer is full, a call on a blocking socket
// waits for room, as in sock_alloc_send_pskb (net/core/sock.c).
type sending struct {
	waitState // deadline: of SO_SNDTIMEO
	socket    *packetSocket
	flags     int32

	bytes int // sent so far of this message, from a transmit ring
	got   int // messages sent so far, of sendmmsg
}

// send serves sendto, sendmsg and sendmmsg.
func (c *call) send(p *packetSocket) reply {
	if p.errorShown {
		defer p.refresh() // the call may clear the error
	}
	w := &sending{waitState: waitState{call: c}, socket: p, flags: c.messageFlags()}
	switch {
	case c.NR != unix.SYS_SENDTO && uint32(w.flags)&msgCmsgCompat != 0:
		return fail(unix.EINVAL)
	case c.NR == unix.SYS_SENDMMSG && uint32(c.Args[2]) == 0:
		return value(0)
	}
	answer, ok := w.try()
	if !ok {
		c.s.waiting.sends = append(c.s.waiting.sends, w)
		return waits
	}
	return answer
}

// try sends what is left to send; not ok means that the call has to wait for room.
func (w *sending) try() (answer reply, ok bool) {
	for {
		n, err := w.sendOne()
		w.bytes += n
		switch {
		case errors.Is(err, unix.EAGAIN) && w.mayWait():
			return reply{}, false
		case w.NR != unix.SYS_SENDMMSG && errors.Is(err, unix.EAGAIN) && w.bytes > 0:
			return value(int64(w.bytes)), true
		case w.NR != unix.SYS_SENDMMSG:
			return valueOr(int64(w.bytes), err), true
		case err == nil:
			err = w.write(w.mmsghdrAt(w.got)+mmsghdrLen, bytes32(uint32(w.bytes)))
		}
		switch {
		case err != nil && w.got == 0:
			return result(err), true
		case err != nil: // the next call meets the error
			return value(int64(w.got)), true
		}
		w.bytes = 0
		if w.got++; w.got >= int(min(uint32(w.Args[2]), maxMessages)) {
			return value(int64(w.got)), true
		}
	}
}

// mayWait reports whether the call waits for room.
func (w *sending) mayWait() bool {
	if w.flags&unix.MSG_DONTWAIT != 0 || nonblocking(w.socket.standIn) != 0 {
		return false
	}
	if w.deadline.IsZero() {
		if d := w.socket.sendTimeout(); d != forever {
			w.deadline = time.Now().Add(d)
		}
	}
	return w.inTime()
}

// partial is what the call returns when it is interrupted.
func (w *sending) partial() (answer reply, ok bool) {
	switch {
	case w.got > 0:
		return value(int64(w.got)), true
	case w.bytes > 0:
		return value(int64(w.bytes)), true
	}
	return reply{}, false
}

// sendTimeout is SO_SNDTIMEO, which the stand-in keeps: see parseTimeval.
func (p *packetSocket) sendTimeout() time.Duration {
	var tv [sizeofTimeval]byte
	n := uint32(len(tv))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(p.standIn), unix.SOL_SOCKET, unix.SO_SNDTIMEO,
		uintptr(unsafe.Pointer(&tv)), uintptr(unsafe.Pointer(&n)), 0)
	if d, ok := parseTimeval(tv[:]); ok && errno == 0 {
		return d
	}
	return forever
}

// sendOne sends one message, and returns the number of bytes sent.
func (w *sending) sendOne() (int, error) {
	if w.socket.held != nil { // a frame that was written before comes first
		return 0, unix.EAGAIN
	}
	m, err := w.message(w.got)
	if err != nil {
		return 0, err
	}
	to, err := w.destination(m)
	if err != nil {
		return 0, err
	}
	return w.sendFrame(m, to)
}

// destination reads the address and the control messages of a message; nil: it has no
// address.
func (w *sending) destination(m message) (to *tpacket.SockaddrLL, err error) {
	if m.controlLen > maxSentControl {
		return nil, unix.ENOBUFS
	}
	n := int32(m.nameLen)
	if w.NR != unix.SYS_SENDTO { // a longer name is cut
		n = min(n, sizeofSockaddrStorage)
	}
	var name []byte
	if m.name != 0 {
		if name, err = w.sockaddr(m.name, n); err != nil {
			return nil, err
		}
	}
	var control []byte
	if m.controlLen > 0 {
		control = make([]byte, m.controlLen)
		if err := w.read(m.control, control); err != nil {
			return nil, err
		}
	}
	if len(name) > 0 || m.name != 0 && w.NR == unix.SYS_SENDTO {
		a, err := parseReceiver(name)
		if err != nil {
			return nil, err
		}
		to = &a
	}
	if err := checkControl(control); err != nil {
		return nil, w.unroutable(to, err)
	}
	return to, nil
}

// sendFrame reads a frame from the program's memory and sends it. A call that sends from
// a transmit ring needs no frame.
func (w *sending) sendFrame(m message, to *tpacket.SockaddrLL) (int, error) {
	p, frame := w.socket, w.s.frame[:0]
	if !p.sends {
		most := uint64(maxPlain)
		if n := m.room(); n > maxPlain && p.hasVnetHeader() {
			most = min(n, maxFrame)
			frame = make([]byte, 0, most)
		}
		for _, v := range m.iovs {
			b := frame[len(frame):min(uint64(len(frame))+v.len, most)]
			if err := w.read(v.base, b); err != nil {
				return 0, w.unroutable(to, err)
			}
			frame = frame[:len(frame)+len(b)]
		}
	}
	if !w.valid() {
		return 0, unix.EINTR
	}
	n, err := p.backend.SendTo(frame, to)
	if err == nil {
		w.s.noteSent(p, to)
	}
	if to != nil && err != nil && errnoOf(err) == unix.ENXIO {
		w.s.missingIndex(to.Ifindex)
	}
	return n, err
}

// unroutable is err, unless there is no device to send through: Linux checks that first.
func (w *sending) unroutable(to *tpacket.SockaddrLL, err error) error {
	if _, noRoute := w.socket.backend.Route(to); noRoute != nil {
		return noRoute
	}
	return err
}

// noteSent adds the device that frames left through to the socket's report: the one that
// to names, or the one that the socket is bound to.
func (s *session) noteSent(p *packetSocket, to *tpacket.SockaddrLL) {
	name := p.report.Device
	if to != nil {
		d, ok := s.ns.DeviceByIndex(int(to.Ifindex))
		if !ok { // it was removed meanwhile
			return
		}
		name = d.Name()
	}
	if slices.Contains(strings.Split(p.report.SentThrough, ", "), name) {
		return
	}
	if p.report.SentThrough != "" {
		name = p.report.SentThrough + ", " + name
	}
	p.report.SentThrough = name
}

// hasVnetHeader reports whether frames begin with a virtio_net_hdr.
func (p *packetSocket) hasVnetHeader() bool {
	var size [4]byte
	_, err := p.backend.Getsockopt(tpacket.SolPacket, tpacket.OptVnetHdrSz, size[:])
	return err == nil && native32(size[:]) != 0
}

// parseReceiver reads the sockaddr_ll that a program sends to, with the checks of
// packet_snd. An address longer than the struct's field extends beyond the struct.
func parseReceiver(b []byte) (tpacket.SockaddrLL, error) {
	a, err := parseSockaddr(b)
	if err != nil || int(a.Halen)+addrOffset > len(b) {
		return a, unix.EINVAL
	}
	a.Halen = min(a.Halen, uint8(len(a.Addr)))
	return a, nil
}

// maxSentControl is net.core.optmem_max, which bounds control messages, as Linux 6.7 and
// later set it.
const maxSentControl = 128 << 10

// checkControl checks the control messages that a program sends with a frame, as
// sock_cmsg_send does. They have no effect on a device without queues and marks.
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

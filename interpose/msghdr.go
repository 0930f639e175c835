//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// message is what recvfrom's or sendto's arguments say, or a struct msghdr: where in the
// program's memory the data, the address and the control messages are.
type message struct {
	iovs []iovec

	name    uint64 // 0: no address
	nameLen int    // its length, or room for it; recvfrom's is at nameLenAt
	// nameLenAt is where the length of the name is to be written, unless name is 0.
	nameLenAt uint64

	control    uint64
	controlLen uint64

	header   uint64 // the struct msghdr; 0: recvfrom, which has no flags and control messages
	lengthAt uint64 // where recvmmsg and sendmmsg want the message's length; 0: nowhere
}

// iovec mirrors struct iovec: a piece of the program's memory.
type iovec struct{ base, len uint64 }

// Sizes and offsets of struct user_msghdr (linux/socket.h) and struct mmsghdr on
// 64-bit machines.
const (
	sizeofMsghdr  = 56
	sizeofMmsghdr = 64
	sizeofIovec   = 16

	msghdrName       = 0
	msghdrNameLen    = 8
	msghdrIov        = 16
	msghdrIovLen     = 24
	msghdrControl    = 32
	msghdrControlLen = 40
	msghdrFlags      = 48
	mmsghdrLen       = 56
)

const (
	maxIovecs = 1024                   // UIO_MAXIOV (linux/uio.h)
	maxRW     = math.MaxInt32 &^ 0xfff // MAX_RW_COUNT (linux/fs.h)

	// maxControl is more than all control messages of a packet together.
	maxControl = 4096
)

// parseMsghdr reads a struct msghdr, which lies at addr, but for the n iovecs, which lie
// at iovs.
func parseMsghdr(b *[sizeofMsghdr]byte, addr uint64) (m message, iovs, n uint64, err error) {
	m = message{
		name:       binary.NativeEndian.Uint64(b[msghdrName:]),
		nameLen:    int(int32(native32(b[msghdrNameLen:]))),
		control:    binary.NativeEndian.Uint64(b[msghdrControl:]),
		controlLen: binary.NativeEndian.Uint64(b[msghdrControlLen:]),
		header:     addr,
	}
	if m.name == 0 {
		m.nameLen = 0
	} else {
		m.nameLenAt = addr + msghdrNameLen
	}
	if m.control == 0 {
		m.controlLen = 0
	}
	n = binary.NativeEndian.Uint64(b[msghdrIovLen:])
	switch {
	case m.nameLen < 0:
		return m, 0, 0, unix.EINVAL
	case n > maxIovecs:
		return m, 0, 0, unix.EMSGSIZE
	}
	return m, binary.NativeEndian.Uint64(b[msghdrIov:]), n, nil
}

// parseIovecs reads an array of struct iovec with the checks of import_iovec: together
// they hold at most what Linux transfers at once.
func parseIovecs(b []byte) ([]iovec, error) {
	iovs := make([]iovec, len(b)/sizeofIovec)
	room := uint64(maxRW)
	for i := range iovs {
		at := b[i*sizeofIovec:]
		v := iovec{binary.NativeEndian.Uint64(at), binary.NativeEndian.Uint64(at[8:])}
		if v.len > math.MaxInt64 {
			return nil, unix.EINVAL
		}
		v.len = min(v.len, room)
		room -= v.len
		iovs[i] = v
	}
	return iovs, nil
}

// msghdr reads the struct msghdr at addr and its iovecs.
func (c *call) msghdr(addr uint64) (message, error) {
	var b [sizeofMsghdr]byte
	if err := c.read(addr, b[:]); err != nil {
		return message{}, err
	}
	m, at, n, err := parseMsghdr(&b, addr)
	if err != nil {
		return m, err
	}
	iovs := make([]byte, n*sizeofIovec)
	if err := c.read(at, iovs); err != nil {
		return m, err
	}
	m.iovs, err = parseIovecs(iovs)
	return m, err
}

// mmsghdr reads message i of the array that recvmmsg and sendmmsg have.
func (c *call) mmsghdr(i int) (message, error) {
	at := c.mmsghdrAt(i)
	m, err := c.msghdr(at)
	m.lengthAt = at + mmsghdrLen
	return m, err
}

func (c *call) mmsghdrAt(i int) uint64 { return c.Args[1] + uint64(i)*sizeofMmsghdr }

// message reads the message of a receive or send call; i counts those of recvmmsg and
// sendmmsg.
func (c *call) message(i int) (message, error) {
	switch c.NR {
	case unix.SYS_RECVMMSG, unix.SYS_SENDMMSG:
		return c.mmsghdr(i)
	case unix.SYS_RECVMSG, unix.SYS_SENDMSG:
		return c.msghdr(c.Args[1])
	}
	m := message{iovs: []iovec{{c.Args[1], min(c.Args[2], maxRW)}}, name: c.Args[4]}
	if c.NR == unix.SYS_RECVFROM {
		m.nameLenAt = c.Args[5]
	} else {
		m.nameLen = int(c.int(5))
	}
	return m, nil
}

// messageFlags are the MSG_ flags of a receive or send call.
func (c *call) messageFlags() int32 {
	if c.NR == unix.SYS_RECVMSG || c.NR == unix.SYS_SENDMSG {
		return c.int(2)
	}
	return c.int(3)
}

// room is how many bytes the iovecs have together.
func (m *message) room() (n uint64) {
	for _, v := range m.iovs {
		n += v.len
	}
	return n
}

// datagram is what a socket hands to a receive call.
type datagram struct {
	data      []byte // at most as much as the message has room for
	name      []byte
	truncated bool                                         // there was more data
	control   func(room int) (msgs []byte, truncated bool) // nil: no control messages
	n         int64                                        // the receive call's value
}

// deliver writes a datagram to the program's memory, as recvmsg does: data, address,
// flags and control messages. EINTR: the call has ended, and nothing was written.
func (c *call) deliver(m message, g datagram) error {
	room, nameErr := c.nameRoom(m)
	w, err := c.writer()
	if err != nil {
		return err
	}
	left := g.data
	for _, v := range m.iovs {
		n := min(v.len, uint64(len(left)))
		if n == 0 {
			continue
		}
		if err := w.write(v.base, left[:n]); err != nil {
			return err
		}
		left = left[n:]
	}
	switch {
	case nameErr != nil:
		return nameErr
	case m.name != 0:
		if err := w.write(m.name, g.name[:min(room, len(g.name))]); err != nil {
			return err
		}
		if err := w.write(m.nameLenAt, bytes32(uint32(len(g.name)))); err != nil {
			return err
		}
	}
	if m.header == 0 {
		return nil
	}
	if err := w.writeControl(m, g); err != nil || m.lengthAt == 0 {
		return err
	}
	return w.write(m.lengthAt, bytes32(uint32(g.n)))
}

// nameRoom is how much room there is for the address, as move_addr_to_user reads it.
func (c *call) nameRoom(m message) (int, error) {
	if m.name == 0 || m.header != 0 {
		return m.nameLen, nil
	}
	room, err := c.readUint32(m.nameLenAt)
	if err == nil && int32(room) < 0 {
		err = unix.EINVAL
	}
	return int(int32(room)), err
}

// writeControl writes the control messages, and the struct msghdr's flags and length of
// control messages.
func (w memoryWriter) writeControl(m message, g datagram) error {
	var flags uint32
	if g.truncated {
		flags |= unix.MSG_TRUNC
	}
	var control []byte
	if g.control != nil {
		var truncated bool
		control, truncated = g.control(int(min(m.controlLen, maxControl)))
		if truncated {
			flags |= unix.MSG_CTRUNC
		}
		if w.write(m.control, control) != nil {
			control = nil // Linux, too, goes on without
		}
	}
	if err := w.write(m.header+msghdrFlags, bytes32(flags)); err != nil {
		return err
	}
	return w.write(m.header+msghdrControlLen, bytes64(uint64(len(control))))
}

const sizeofTimeval = 16 // struct timeval

// forever is the timeout of a call that has none.
const forever time.Duration = -1

// parseTimeval reads the value that SO_RCVTIMEO was set to: how long receive calls wait.
// 0 means that they do not wait, which Linux makes of negative times. ok means that
// Linux accepts the value.
func parseTimeval(tv []byte) (timeout time.Duration, ok bool) {
	if len(tv) < sizeofTimeval {
		return 0, false
	}
	sec, usec := int64(binary.NativeEndian.Uint64(tv)), int64(binary.NativeEndian.Uint64(tv[8:]))
	switch {
	case usec < 0 || usec >= 1e6:
		return 0, false
	case sec < 0:
		return 0, true
	case sec == 0 && usec == 0, sec > maxSeconds:
		return forever, true
	}
	return time.Duration(sec)*time.Second + time.Duration(usec)*time.Microsecond, true
}

// maxSeconds is more than 292 years.
const maxSeconds = math.MaxInt64/int64(time.Second) - 1

// parseTimespec reads a struct timespec with the checks of timespec64_valid.
func parseTimespec(b [16]byte) (time.Duration, error) {
	sec, nsec := int64(binary.NativeEndian.Uint64(b[:])), int64(binary.NativeEndian.Uint64(b[8:]))
	switch {
	case sec < 0 || nsec < 0 || nsec >= 1e9:
		return 0, unix.EINVAL
	case sec > maxSeconds:
		return math.MaxInt64, nil
	}
	return time.Duration(sec)*time.Second + time.Duration(nsec), nil
}

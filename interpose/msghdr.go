//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"math"

	"golang.org/x/sys/unix"
)

// A destination is where a receive call wants what it receives: the arguments
// of recvfrom, or a struct msghdr.
type destination struct {
	iovs []iovec

	name    uint64 // address, 0: nobody wants to know
	nameLen int    // room there
	// nameLenAt is where the length of the name goes; 0 with name 0.
	nameLenAt uint64

	control    uint64
	controlLen uint64
	// header is the struct msghdr; 0 for recvfrom, which has no room for flags
	// and control messages.
	header uint64
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

	// maxControl is more than all the control messages of a packet together.
	maxControl = 4096
)

// datagram is what a socket gives to a receive call.
type datagram struct {
	data    []byte // no more than the destination has room for
	name    []byte
	cut     bool                                   // there was more
	control func(room int) (msgs []byte, cut bool) // nil: no control messages
}

// parseMsghdr reads a struct msghdr, which lies at addr, but for what it points
// to: iovs says where how many iovecs are.
func parseMsghdr(b *[sizeofMsghdr]byte, addr uint64) (d destination, iovs, n uint64, err error) {
	d = destination{
		name:       binary.NativeEndian.Uint64(b[msghdrName:]),
		nameLen:    int(int32(native32(b[msghdrNameLen:]))),
		control:    binary.NativeEndian.Uint64(b[msghdrControl:]),
		controlLen: binary.NativeEndian.Uint64(b[msghdrControlLen:]),
		header:     addr,
	}
	if d.name == 0 {
		d.nameLen = 0
	} else {
		d.nameLenAt = addr + msghdrNameLen
	}
	if d.control == 0 {
		d.controlLen = 0
	}
	n = binary.NativeEndian.Uint64(b[msghdrIovLen:])
	switch {
	case d.nameLen < 0:
		return d, 0, 0, unix.EINVAL
	case n > maxIovecs:
		return d, 0, 0, unix.EMSGSIZE
	}
	return d, binary.NativeEndian.Uint64(b[msghdrIov:]), n, nil
}

// parseIovecs reads an array of struct iovec with the checks of import_iovec:
// together they hold no more than Linux moves at a time.
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

// msghdr reads the struct msghdr at addr and what it points to.
func (c *call) msghdr(addr uint64) (destination, error) {
	var b [sizeofMsghdr]byte
	if err := c.read(addr, b[:]); err != nil {
		return destination{}, err
	}
	d, at, n, err := parseMsghdr(&b, addr)
	if err != nil {
		return d, err
	}
	iovs := make([]byte, n*sizeofIovec)
	if err := c.read(at, iovs); err != nil {
		return d, err
	}
	d.iovs, err = parseIovecs(iovs)
	return d, err
}

// recvfrom is the destination that recvfrom's arguments say.
func (c *call) recvfrom() destination {
	return destination{
		iovs:      []iovec{{c.Args[1], min(c.Args[2], maxRW)}},
		name:      c.Args[4],
		nameLenAt: c.Args[5],
	}
}

// room is how many bytes the pieces of memory have together.
func (d *destination) room() (n uint64) {
	for _, v := range d.iovs {
		n += v.len
	}
	return n
}

// deliver hands a datagram over, as recvmsg does: in pieces, with its address,
// flags and control messages.
func (c *call) deliver(d destination, g datagram) error {
	left := g.data
	for _, v := range d.iovs {
		n := min(v.len, uint64(len(left)))
		if n == 0 {
			continue
		}
		if err := c.write(v.base, left[:n]); err != nil {
			return err
		}
		left = left[n:]
	}
	if err := c.writeName(d, g.name); err != nil || d.header == 0 {
		return err
	}
	var flags uint32
	if g.cut {
		flags |= unix.MSG_TRUNC
	}
	var control []byte
	if g.control != nil {
		var cut bool
		control, cut = g.control(int(min(d.controlLen, maxControl)))
		if cut {
			flags |= unix.MSG_CTRUNC
		}
		if c.write(d.control, control) != nil {
			control = nil // Linux, too, goes on without
		}
	}
	if err := c.write(d.header+msghdrFlags, bytes32(flags)); err != nil {
		return err
	}
	return c.write(d.header+msghdrControlLen, bytes64(uint64(len(control))))
}

// writeName is move_addr_to_user: as much of the name as there is room for, and
// its whole length.
func (c *call) writeName(d destination, name []byte) error {
	if d.name == 0 {
		return nil
	}
	room := d.nameLen
	if d.header == 0 {
		var b [4]byte
		if err := c.read(d.nameLenAt, b[:]); err != nil {
			return err
		}
		room = int(int32(native32(b[:])))
	}
	if room < 0 {
		return unix.EINVAL
	}
	if err := c.write(d.name, name[:min(room, len(name))]); err != nil {
		return err
	}
	return c.write(d.nameLenAt, bytes32(uint32(len(name))))
}

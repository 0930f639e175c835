//go:build linux

package rtnl

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// header mirrors struct nlmsghdr (linux/netlink.h).
type header struct {
	size  uint32 // the header included
	typ   uint16
	flags uint16
	seq   uint32
	port  uint32
}

// parseHeader reads the header of the first message in b, which is long enough for one.
func parseHeader(b []byte) header {
	return header{
		size:  binary.NativeEndian.Uint32(b),
		typ:   binary.NativeEndian.Uint16(b[4:]),
		flags: binary.NativeEndian.Uint16(b[6:]),
		seq:   binary.NativeEndian.Uint32(b[8:]),
		port:  binary.NativeEndian.Uint32(b[12:]),
	}
}

// message lays out a whole message: header, fixed part and attributes, padded.
func message(h header, body ...[]byte) []byte {
	b := make([]byte, unix.NLMSG_HDRLEN, 512)
	for _, part := range body {
		b = append(b, part...)
	}
	b = append(b, make([]byte, align(len(b))-len(b))...)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], h.typ)
	binary.NativeEndian.PutUint16(b[6:], h.flags)
	binary.NativeEndian.PutUint32(b[8:], h.seq)
	binary.NativeEndian.PutUint32(b[12:], h.port)
	return b
}

// nlaTypeMask is NLA_TYPE_MASK: an attribute's type without its flags.
const nlaTypeMask = 1<<14 - 1

func native32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

// align is NLMSG_ALIGN and NLA_ALIGN.
func align(n int) int { return (n + 3) &^ 3 }

// attrs is a list of attributes: struct nlattr, its value, padding.
type attrs []byte

func (a *attrs) bytes(typ uint16, val []byte) {
	b := binary.NativeEndian.AppendUint16(*a, uint16(unix.SizeofNlAttr+len(val)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, val...)
	*a = append(b, make([]byte, align(len(val))-len(val))...)
}

func (a *attrs) string(typ uint16, s string) { a.bytes(typ, append([]byte(s), 0)) }
func (a *attrs) uint8(typ uint16, v uint8)   { a.bytes(typ, []byte{v}) }
func (a *attrs) uint16(typ uint16, v uint16) { a.bytes(typ, binary.NativeEndian.AppendUint16(nil, v)) }
func (a *attrs) uint32(typ uint16, v uint32) { a.bytes(typ, binary.NativeEndian.AppendUint32(nil, v)) }

// each yields the attributes in b up to the first that does not fit, as
// nla_for_each_attr does: type, without its flags, and value.
func each(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			n := int(binary.NativeEndian.Uint16(b))
			if n < unix.SizeofNlAttr || n > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&nlaTypeMask, b[unix.SizeofNlAttr:n]) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

// whole reports whether b consists of attributes only, as strict checking requires.
func whole(b []byte) bool {
	for len(b) >= unix.SizeofNlAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofNlAttr || n > len(b) {
			return false
		}
		b = b[min(align(n), len(b)):]
	}
	return len(b) == 0
}

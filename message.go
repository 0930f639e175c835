package rxring

import (
	"encoding/binary"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/tpacket"
)

// A Message travels between processes of one machine (package attach): it is laid
// out in that machine's byte order.

// messageSize is what AppendBinary appends.
const messageSize = 4*4 + tpacket.SizeofSockaddrLL + tpacket.SizeofAuxdata + 8 + 3*4

// control bits, beside the kind of time stamp in the low 8.
const (
	controlDropped = 1 << (8 + iota)
	controlMark
	controlPriority
	controlAuxdata
)

// AppendBinary implements [encoding.BinaryAppender].
func (m *Message) AppendBinary(b []byte) ([]byte, error) {
	put := func(v uint32) { b = binary.NativeEndian.AppendUint32(b, v) }
	control := uint32(m.control.timestamp)
	for i, on := range []bool{m.control.dropped, m.control.mark, m.control.priority, m.control.auxdata} {
		if on {
			control |= controlDropped << i
		}
	}
	put(uint32(m.N))
	put(uint32(m.Copied))
	put(uint32(m.Flags))
	put(control)
	b = append(b, tpacket.Bytes(&m.From)...)
	b = append(b, tpacket.Bytes(&m.Auxdata)...)
	b = binary.NativeEndian.AppendUint64(b, uint64(m.Timestamp))
	put(m.Mark)
	put(m.Priority)
	put(m.Dropped)
	return b, nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler]: EINVAL for another
// length than AppendBinary's.
func (m *Message) UnmarshalBinary(b []byte) error {
	if len(b) != messageSize {
		return explain.Errorf(syscall.EINVAL, "message of %d bytes: want %d", len(b), messageSize)
	}
	word := func() uint32 {
		v := binary.NativeEndian.Uint32(b)
		b = b[4:]
		return v
	}
	m.N, m.Copied, m.Flags = int(word()), int(word()), RecvFlags(word())
	control := word()
	m.control = controls{
		timestamp: int(control & 0xff),
		dropped:   control&controlDropped != 0,
		mark:      control&controlMark != 0,
		priority:  control&controlPriority != 0,
		auxdata:   control&controlAuxdata != 0,
	}
	m.From = tpacket.Parse[tpacket.SockaddrLL](b)
	b = b[tpacket.SizeofSockaddrLL:]
	m.Auxdata = tpacket.Parse[tpacket.Auxdata](b)
	b = b[tpacket.SizeofAuxdata:]
	m.Timestamp = int64(binary.NativeEndian.Uint64(b))
	b = b[8:]
	m.Mark, m.Priority, m.Dropped = word(), word(), word()
	return nil
}

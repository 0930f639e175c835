package conn

import (
	"encoding/binary"
	"math"
)

// Framing is how frames follow each other on a connection. The zero value is Datagram.
type Framing struct {
	lengthLen int // bytes of the length in front of each frame; 0: a frame in each call
	order     byteOrder

	// Bytes that pass before the first frame.
	readGreeting, writtenGreeting int
}

type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

var (
	// Datagram has one frame in each Read and in each Write, as on the datagram sockets of
	// vfkit, Virtualization.framework and User Mode Linux.
	Datagram = Framing{}

	// QEMU has 4 bytes of length in network byte order before each frame, as QEMU's
	// -netdev stream and socket have, and passt.
	QEMU = Framing{lengthLen: 4, order: binary.BigEndian}

	// HyperKit has 2 bytes of length in little-endian order before each frame.
	HyperKit = Framing{lengthLen: 2, order: binary.LittleEndian}

	// VPNKit is HyperKit after the messages with which a hypervisor and VPNKit begin: an
	// init message in each direction, a command and its answer.
	VPNKit = Framing{lengthLen: 2, order: binary.LittleEndian, readGreeting: 49 + 41, writtenGreeting: 49 + 258}
)

// length returns the length that is encoded in b.
func (f *Framing) length(b []byte) int64 {
	if f.lengthLen == 2 {
		return int64(f.order.Uint16(b))
	}
	return int64(f.order.Uint32(b))
}

// appendLength appends the encoded length n to b.
func (f *Framing) appendLength(b []byte, n int) []byte {
	switch f.lengthLen {
	case 0:
		return b
	case 2:
		return f.order.AppendUint16(b, uint16(n))
	}
	return f.order.AppendUint32(b, uint32(n))
}

// longest returns the length of the longest frame.
func (f *Framing) longest() int {
	if f.lengthLen == 2 {
		return math.MaxUint16
	}
	return math.MaxInt32
}

package tpacket

import (
	"sync/atomic"
	"unsafe"
)

// TxHeader is the header of a transmit frame. It is untrusted: the program that wrote the
// frame can change it at any time.
type TxHeader struct {
	Len  uint32 // tp_len: of the packet
	Mac  uint16 // tp_mac: the packet's offset for SOCK_RAW, with PACKET_TX_HAS_OFF
	Net  uint16 // tp_net: the same for SOCK_DGRAM
	Next uint32 // V3: tp_next_offset, which must be 0
}

// ReadTxHeader reads the header that frame b starts with, each field once. The rules
// for b are those of [Header1At].
func ReadTxHeader(v Version, b []byte) TxHeader {
	_ = b[v.HeaderSize()-1]
	length, offsets := unsafe.Offsetof(Header2{}.Len), unsafe.Offsetof(Header2{}.Mac)
	switch v {
	case V1:
		length, offsets = unsafe.Offsetof(Header1{}.Len), unsafe.Offsetof(Header1{}.Mac)
	case V3:
		length, offsets = unsafe.Offsetof(Header3{}.Len), unsafe.Offsetof(Header3{}.Mac)
	}
	h := TxHeader{Len: loadWord(b, length)}
	both := loadWord(b, offsets)
	pair := *(*[2]uint16)(unsafe.Pointer(&both))
	h.Mac, h.Net = pair[0], pair[1]
	if v == V3 {
		h.Next = loadWord(b, unsafe.Offsetof(Header3{}.NextOffset))
	}
	return h
}

// loadWord loads one word of shared memory exactly once.
func loadWord(b []byte, at uintptr) uint32 {
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&b[at])))
}

// TxOffset returns the offset of the packet in a transmit frame without
// PACKET_TX_HAS_OFF, in bytes: behind the header, where a receive frame has its
// address.
func (v Version) TxOffset() int { return Align(v.HeaderSize()) }

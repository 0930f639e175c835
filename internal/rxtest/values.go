package rxtest

import (
	"encoding/binary"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// Hardware addresses of frames' receiver and sender.
var (
	OwnAddr  = [6]byte{2, 0, 0, 0, 0, 1}
	PeerAddr = [6]byte{2, 0, 0, 0, 0, 2}
)

// Group is an Ethernet multicast address.
var Group = []byte{1, 0, 0x5e, 0, 0, 0xfb}

// Frame returns an IPv4 frame of n bytes for the first device of a namespace.
func Frame(n int) []byte {
	b := make([]byte, n)
	copy(b, []byte{0x02, 'r', 'x', 'r', 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45})
	return b
}

// Ethernet returns a broadcast frame of n bytes.
func Ethernet(etherType uint16, n int) []byte {
	b := make([]byte, max(n, 14))
	copy(b, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1})
	binary.BigEndian.PutUint16(b[12:], etherType)
	for i := 14; i < len(b); i++ {
		b[i] = byte(i)
	}
	return b[:n]
}

// TaggedFrame returns a frame from PeerAddr with VLAN tags: TPID, TCI, TPID, TCI and so on.
func TaggedFrame(dst [6]byte, inner uint16, payload []byte, tags ...uint16) []byte {
	b := append(dst[:], PeerAddr[:]...)
	for _, v := range append(tags, inner) {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return append(b, payload...)
}

// TCPFrame returns a frame for OwnAddr with n bytes of a TCP packet behind tags.
func TCPFrame(n int, tags ...uint16) []byte {
	ip := make([]byte, n)
	for i := range ip {
		ip[i] = byte(0x33 + i/64)
	}
	copy(ip, []byte{0x45, 0, byte(n >> 8), byte(n), 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2})
	ip[32] = 0x60
	return TaggedFrame(OwnAddr, tpacket.ETHPIP, ip, tags...)
}

// Keep returns a filter that keeps n bytes of each packet: ret #n.
func Keep(n uint32) []cbpf.Instruction { return []cbpf.Instruction{{Op: cbpf.OpRetK, K: n}} }

// KeepLen returns a filter that returns the packet's length: ld len; ret a.
func KeepLen() []cbpf.Instruction { return []cbpf.Instruction{{Op: 0x80}, {Op: 0x16}} }

// Socket options by their numbers (asm-generic/socket.h), as programs pass them.
const (
	SolSocket     = tpacket.SolSocket
	SoRcvbuf      = 8
	SoSndbuf      = 7
	SoSndbufforce = 32
	SoRcvbufforce = 33
	SoTimestamp   = 29
	SoTimestampNS = 35
	SoRxqOvfl     = 40
	SoLockFilter  = 44
)

// Int returns the value of an option that is a C int.
func Int(v int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(v)) }

// Mreq returns a struct packet_mreq, or a longer one if addr is longer.
func Mreq(ifindex int, typ, alen uint16, addr ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(Int(int32(ifindex)), typ)
	b = binary.NativeEndian.AppendUint16(b, alen)
	return append(b, append(addr, make([]byte, max(0, 8-len(addr)))...)...)
}

package conformance

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/rxring/rxring/tpacket"
)

// mapping is a ring as a program has it in memory.
type mapping struct {
	mem []byte
	geo tpacket.Geometry
}

// units is how many things there are with a status word of their own: frames,
// or blocks in V3.
func (m *mapping) units() uint32 {
	if m.geo.Version == tpacket.V3 {
		return m.geo.BlockNr
	}
	return m.geo.FrameNr
}

// unit is frame or block i.
func (m *mapping) unit(i uint32) []byte {
	if m.geo.Version == tpacket.V3 {
		return m.mem[int(i)*int(m.geo.BlockSize):][:m.geo.BlockSize]
	}
	return m.mem[m.geo.FrameOffset(i):][:m.geo.FrameSize]
}

// word is where the status of unit i is: the low half of V1's unsigned long on
// the little-endian machines that this runs on.
func (m *mapping) word(i uint32) *uint32 {
	b := m.unit(i)
	if m.geo.Version == tpacket.V3 {
		return (*uint32)(unsafe.Pointer(&b[unsafe.Offsetof(tpacket.BlockDesc{}.Status)]))
	}
	return (*uint32)(unsafe.Pointer(&b[0]))
}

func (m *mapping) status(i uint32) uint32 { return atomic.LoadUint32(m.word(i)) }

func (m *mapping) setStatus(i, status uint32) {
	if m.geo.Version == tpacket.V1 {
		atomic.StoreUint64((*uint64)(unsafe.Pointer(m.word(i))), uint64(status))
		return
	}
	atomic.StoreUint32(m.word(i), status)
}

// handBack gives unit i back, if it is the reader's.
func (m *mapping) handBack(i uint32) bool {
	if m.status(i)&tpacket.StatusUser == 0 {
		return false
	}
	m.setStatus(i, tpacket.StatusKernel)
	return true
}

// clockBits say which clock a timestamp is of.
const clockBits = tpacket.StatusTSSoftware

// differ says where two rings are not the same, or nothing.
func differ(kernel, rxring *mapping) string {
	if kernel.geo != rxring.geo {
		return fmt.Sprintf("kernel: %+v\nrxring: %+v", kernel.geo, rxring.geo)
	}
	for i := range kernel.units() {
		if what := differUnit(kernel.geo.Version, kernel.unit(i), rxring.unit(i)); what != "" {
			return fmt.Sprintf("unit %d: %s", i, what)
		}
	}
	return ""
}

func differUnit(v tpacket.Version, kernel, rxring []byte) string {
	at := map[tpacket.Version]int{tpacket.V1: 20, tpacket.V2: 16}[v] // tp_sec
	if bytes.Equal(kernel[8:at], rxring[8:at]) && bytes.Equal(kernel[at+8:], rxring[at+8:]) &&
		sameStatus(v, kernel, rxring) && zero(kernel[at:at+8]) == zero(rxring[at:at+8]) {
		return ""
	}
	n := len(kernel)
	for n > 128 && bytes.Equal(kernel[n-16:n], rxring[n-16:n]) {
		n -= 16
	}
	return fmt.Sprintf("from byte %d on\nkernel:\n%srxring:\n%s", firstDifference(kernel, rxring, at), hex.Dump(kernel[:n]), hex.Dump(rxring[:n]))
}

// sameStatus compares the first eight bytes: V1's status is all of them.
func sameStatus(v tpacket.Version, a, b []byte) bool {
	if v == tpacket.V1 {
		return tpacket.Parse[tpacket.Header1](a).Status&^clockBits == tpacket.Parse[tpacket.Header1](b).Status&^clockBits
	}
	x, y := tpacket.Parse[tpacket.Header2](a), tpacket.Parse[tpacket.Header2](b)
	return x.Status&^clockBits == y.Status&^clockBits && x.Len == y.Len
}

func zero(b []byte) bool { return bytes.Count(b, []byte{0}) == len(b) }

func firstDifference(a, b []byte, stamp int) int {
	for i := range a {
		if a[i] != b[i] && (i < stamp || i >= stamp+8) {
			return i
		}
	}
	return stamp
}

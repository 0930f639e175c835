package conformance

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/rxring/rxring/tpacket"
)

// mapping is a ring as a program has it in memory.
type mapping struct {
	mem []byte
	geo tpacket.Geometry // none: FrameNr is 0

	sends bool     // it is a transmit ring: of frames, also in V3
	tx    *mapping // the transmit ring behind a receive ring, nil: none
}

// size is how many bytes mmap maps.
func (m *mapping) size() int {
	n := m.geo.Size()
	if m.tx != nil {
		n += m.tx.geo.Size()
	}
	return n
}

// units is how many things there are with a status word of their own: frames,
// or blocks in V3.
func (m *mapping) units() uint32 {
	if m.geo.Version == tpacket.V3 && !m.sends {
		return m.geo.BlockNr
	}
	return m.geo.FrameNr
}

// unit is frame or block i.
func (m *mapping) unit(i uint32) []byte {
	if m.geo.Version == tpacket.V3 && !m.sends {
		return m.mem[int(i)*int(m.geo.BlockSize):][:m.geo.BlockSize]
	}
	return m.mem[m.geo.FrameOffset(i):][:m.geo.FrameSize]
}

// word is where the status of unit i is: the low half of V1's unsigned long on
// the little-endian machines that this runs on.
func (m *mapping) word(i uint32) *uint32 {
	b := m.unit(i)
	switch {
	case m.geo.Version == tpacket.V3 && m.sends:
		return (*uint32)(unsafe.Pointer(&b[unsafe.Offsetof(tpacket.Header3{}.Status)]))
	case m.geo.Version == tpacket.V3:
		return (*uint32)(unsafe.Pointer(&b[unsafe.Offsetof(tpacket.BlockDesc{}.Status)]))
	}
	return (*uint32)(unsafe.Pointer(&b[0]))
}

func (m *mapping) status(i uint32) uint32 { return atomic.LoadUint32(m.word(i)) }

// setStatus stores a status word. A V3 block that goes back goes empty: packets
// in it will have gaps between them, where else old times would show.
func (m *mapping) setStatus(i, status uint32) {
	if m.geo.Version == tpacket.V3 && m.status(i)&tpacket.StatusUser != 0 {
		b := m.unit(i)
		first := tpacket.Parse[tpacket.BlockDesc](b).OffsetToFirstPkt
		clear(b[min(max(first, tpacket.SizeofBlockDesc), uint32(len(b))):])
	}
	if m.geo.Version == tpacket.V1 {
		atomic.StoreUint64((*uint64)(unsafe.Pointer(m.word(i))), uint64(status))
		return
	}
	atomic.StoreUint32(m.word(i), status)
}

// statuses are all bits that unit i and the packets in it have.
func (m *mapping) statuses(i uint32) uint32 {
	status := m.status(i)
	if m.geo.Version == tpacket.V3 && status&tpacket.StatusUser != 0 {
		for h := range packets(m.unit(i)) {
			status |= h.Status
		}
	}
	return status
}

// packets are the headers in a block.
func packets(block []byte) iter.Seq[*tpacket.Header3] {
	return func(yield func(*tpacket.Header3) bool) {
		d := tpacket.Parse[tpacket.BlockDesc](block)
		for at, n := uint64(d.OffsetToFirstPkt), d.NumPkts; n > 0 && at+tpacket.SizeofHeader3 <= uint64(len(block)); n-- {
			h := (*tpacket.Header3)(unsafe.Pointer(&block[at]))
			if !yield(h) {
				return
			}
			at += uint64(h.NextOffset)
		}
	}
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
		seen.status.Or(kernel.statuses(i))
		if what := differUnit(kernel.geo.Version, kernel.unit(i), rxring.unit(i)); what != "" {
			return fmt.Sprintf("unit %d: %s", i, what)
		}
	}
	if (kernel.tx == nil) != (rxring.tx == nil) {
		return fmt.Sprintf("a transmit ring: kernel %v, rxring %v", kernel.tx != nil, rxring.tx != nil)
	}
	if kernel.tx != nil {
		if !bytes.Equal(kernel.tx.mem, rxring.tx.mem) {
			at := firstDifference(kernel.tx.mem, rxring.tx.mem)
			return fmt.Sprintf("the transmit ring, byte %d\nkernel:\n%srxring:\n%s", at, dump(kernel.tx.mem, at), dump(rxring.tx.mem, at))
		}
	}
	return ""
}

func differUnit(v tpacket.Version, kernel, rxring []byte) string {
	x, y := kernel, rxring
	if v == tpacket.V3 {
		d, e := tpacket.Parse[tpacket.BlockDesc](kernel), tpacket.Parse[tpacket.BlockDesc](rxring)
		if d.Status == e.Status && d.Status&tpacket.StatusUser == 0 {
			return ""
		}
		x, y = scrubBlock(kernel), scrubBlock(rxring)
	} else if sameFrames(v, kernel, rxring) { // without a copy
		return ""
	} else {
		x, y = scrubFrame(v, kernel), scrubFrame(v, rxring)
	}
	if bytes.Equal(x, y) {
		return ""
	}
	at := firstDifference(x, y)
	return fmt.Sprintf("from byte %d on\nkernel:\n%srxring:\n%s", at, dump(x, at), dump(y, at))
}

// stamp is where a frame's tp_sec and tp_usec or tp_nsec are.
func stamp(v tpacket.Version) int { return map[tpacket.Version]int{tpacket.V1: 20, tpacket.V2: 16}[v] }

func sameFrames(v tpacket.Version, a, b []byte) bool {
	at := stamp(v)
	return bytes.Equal(a[:at], b[:at]) && bytes.Equal(a[at+8:], b[at+8:]) && zero(a[at:at+8]) == zero(b[at:at+8])
}

// scrubFrame is the frame without what belongs to the run.
func scrubFrame(v tpacket.Version, frame []byte) []byte {
	frame = bytes.Clone(frame)
	clearBits((*uint32)(unsafe.Pointer(&frame[0])), clockBits)
	presence(frame[stamp(v):][:8])
	return frame
}

// scrubBlock is the part of a block that has been handed over, without what
// belongs to the run: times, and flow hashes, which are made with a random key.
func scrubBlock(block []byte) []byte {
	d := tpacket.Parse[tpacket.BlockDesc](block)
	if d.BlkLen > uint32(len(block)) || d.BlkLen < tpacket.SizeofBlockDesc {
		return block
	}
	block = bytes.Clone(block[:d.BlkLen])
	const first = unsafe.Offsetof(d.First)
	presence(block[first:][:8])
	presence(block[first+8:][:8])
	for h := range packets(block) {
		h.Status &^= clockBits
		h.RxHash = min(h.RxHash, 1)
		presence(unsafe.Slice((*byte)(unsafe.Pointer(&h.Sec)), 8)) // and tp_nsec
	}
	return block
}

func clearBits(word *uint32, bits uint32) { *word &^= bits }

// presence leaves of a time only whether there is one.
func presence(b []byte) {
	there := !zero(b)
	clear(b)
	if there {
		b[0] = 1
	}
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// dump is hex.Dump of the lines around byte at, and of the first ones.
func dump(b []byte, at int) string {
	lines := slices.Collect(strings.Lines(hex.Dump(b)))
	var out strings.Builder
	for i, line := range lines {
		switch {
		case i < 8 || i >= at/16-8 && i < at/16+4:
			out.WriteString(line)
		case i == 8 || i == at/16+4:
			out.WriteString("...\n")
		}
	}
	return out.String()
}

//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/tpacket"
)

// sampled is how many slots are looked at, at most.
const sampled = 256

// longestInRing returns the length in bytes of the longest packet that lies, or lay
// last, in slots of a ring that was too small; 0: there is none. The program may have
// written anything there.
func (k *socket) longestInRing() (longest uint32) {
	g, ok := k.rx.Geometry()
	if !ok || g.Version == tpacket.V3 || k.rx.Totals().Dropped() == 0 {
		return 0
	}
	fd, ok := k.rx.memory(g.Size())
	if !ok {
		return 0
	}
	at := 4 // of tp_len, behind tp_status: struct tpacket2_hdr
	if g.Version == tpacket.V1 {
		at = 8 // struct tpacket_hdr, whose tp_status is an unsigned long
	}
	for i := range min(g.FrameNr, sampled) {
		var b [4]byte
		// Read, not mapped: memory that was never written stays unallocated.
		if n, err := unix.Pread(fd, b[:], int64(g.FrameOffset(i)+at)); err == nil && n == len(b) {
			longest = max(longest, binary.NativeEndian.Uint32(b[:]))
		}
	}
	return longest
}

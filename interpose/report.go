//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/tpacket"
)

// maxReports bounds Result.Sockets.
const maxReports = 1024

// reports is what Result will say.
type reports struct {
	sockets     []*SocketReport
	omitted     int
	missing     []string
	interrupted bool
}

func (r *reports) add(s *SocketReport) {
	if len(r.sockets) < maxReports {
		r.sockets = append(r.sockets, s)
	} else {
		r.omitted++
	}
}

func (r *reports) fill(res *Result) {
	for _, s := range r.sockets {
		res.Sockets = append(res.Sockets, *s)
	}
	res.Omitted, res.Missing, res.Interrupted = r.omitted, r.missing, r.interrupted
}

// maxMissing bounds the list of missing devices: the program chooses the names.
const maxMissing = 16

// addMissing notes that the program asked for a device that does not exist.
func (s *session) addMissing(name string) {
	if s.detached() {
		return // it existed before
	}
	// The program chooses the bytes of the name, which goes to a terminal.
	name = strings.ToValidUTF8(name, "?")
	missing := &s.reports.missing
	if name != "" && len(*missing) < maxMissing && !slices.Contains(*missing, name) {
		*missing = append(*missing, name)
	}
}

func (s *session) missingIndex(index int32) {
	if index > 0 {
		s.addMissing(fmt.Sprintf("index %d", index))
	}
}

// maxSampled bounds the slots that longestInRing looks at.
const maxSampled = 256

// longestInRing returns the length in bytes of the longest packet in the slots of a ring
// that dropped some; 0 if there is none. The program may have written anything there.
func (p *packetSocket) longestInRing() (longest uint32) {
	g, ok := p.backend.Geometry()
	if !ok || g.Version == tpacket.V3 || p.backend.Totals().Dropped() == 0 {
		return 0
	}
	fd, ok := p.backend.memory(g.Size())
	if !ok {
		return 0
	}
	at := 4 // of tp_len in struct tpacket2_hdr, after tp_status
	if g.Version == tpacket.V1 {
		at = 8 // in struct tpacket_hdr, whose tp_status is an unsigned long
	}
	for i := range min(g.FrameNr, maxSampled) {
		var b [4]byte
		// Read, not mapped: memory that was never written stays unallocated.
		if n, err := unix.Pread(fd, b[:], int64(g.FrameOffset(i)+at)); err == nil && n == len(b) {
			longest = max(longest, binary.NativeEndian.Uint32(b[:]))
		}
	}
	return longest
}

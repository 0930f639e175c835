package verify

import (
	"cmp"
	"fmt"
	"slices"
)

// maxTears is how many torn packets a Report describes.
const maxTears = 10

// Report is the result for a capture.
type Report struct {
	Packets int64 // all packets in the files
	Bytes   int64 // their captured bytes

	Payload      int64 // packets that carry stream payload, including torn ones
	PayloadBytes int64 // captured bytes of payload in those that are not torn
	Flows        int   // connections that carry a stream

	Torn  int64  // torn packets
	Tears []Tear // the first few of them, in file order
}

// Tear describes a torn packet.
type Tear struct {
	File   string // "" from Reader
	Packet int64  // its number in the file, from 1, as in Wireshark
	Reason string
}

func (t Tear) String() string {
	if t.File != "" {
		return fmt.Sprintf("%s: packet %d: %s", t.File, t.Packet, t.Reason)
	}
	return fmt.Sprintf("packet %d: %s", t.Packet, t.Reason)
}

// tear counts n torn packets and describes the one numbered first.
func (r *Report) tear(n, first int64, reason string) {
	r.Torn += n
	i, _ := slices.BinarySearchFunc(r.Tears, first, func(t Tear, packet int64) int {
		return cmp.Compare(t.Packet, packet)
	})
	if i >= maxTears {
		return
	}
	r.Tears = slices.Insert(r.Tears, i, Tear{Packet: first, Reason: reason})
	r.Tears = r.Tears[:min(len(r.Tears), maxTears)]
}

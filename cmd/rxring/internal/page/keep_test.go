package page

import (
	"strings"
	"testing"

	"github.com/rxring/rxring/source/file/capfile"
)

// The comments of packets are part of the memory that a table may hold.
func TestCommentsOfKeptPacketsAreCounted(t *testing.T) {
	var h keeper
	p := capfile.Packet{Data: make([]byte, 60), Comment: strings.Repeat("x", 4096)}
	for range keptPackets {
		h.add(&p)
	}
	first, next := h.span()
	held := 0
	for n := first; n < next; n++ {
		p, _ := h.get(n)
		held += len(p.Data) + len(p.Comment)
	}
	if next != keptPackets || held > keptBytes || held < keptBytes-5000 {
		t.Errorf("packets %d to %d have %d bytes, want almost %d", first, next, held, keptBytes)
	}
}

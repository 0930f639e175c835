package writer

import (
	"testing"

	"github.com/rxring/rxring/internal/slots"
)

func TestEachSlotHasItsOwnSequenceWord(t *testing.T) {
	for _, n := range []uint32{1, 2, 31, 32, 33, 100, 4096} {
		var d ticket
		d.init(n)
		owner := map[*slots.Word]uint32{}
		for slot := range n {
			w := d.sequence(slot)
			if other, taken := owner[w]; taken {
				t.Fatalf("of %d slots, %d and %d have the same", n, other, slot)
			}
			owner[w] = slot
		}
	}
}

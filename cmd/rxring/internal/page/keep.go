package page

import (
	"bytes"
	"sync"

	"github.com/rxring/rxring/source/file/capfile"
)

const (
	// keptPackets is how many packets of a table can be opened: as many as it has rows.
	keptPackets = 10_000
	// keptBytes limits the size of their bytes and comments. Beyond it the oldest are removed.
	keptBytes = 16 << 20
	// maxShown is how many bytes of a packet are captured for a table.
	maxShown = 16 << 10
)

// keeper has the latest packets of a table. Its methods may be called concurrently.
type keeper struct {
	mu     sync.Mutex
	slots  []capfile.Packet // packet n is at n % keptPackets
	first  uint64           // number of the oldest packet
	next   uint64           // number of the next packet
	size   int              // bytes
	paused bool
}

// add keeps a copy of the next packet and returns its number, or false while the table is
// paused.
func (h *keeper) add(p *capfile.Packet) (number uint64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.paused {
		return 0, false
	}
	if h.slots == nil {
		h.slots = make([]capfile.Packet, keptPackets)
	}
	n := keptSize(p)
	for h.next-h.first == keptPackets || h.size+n > keptBytes {
		oldest := &h.slots[h.first%keptPackets]
		h.size -= keptSize(oldest)
		*oldest = capfile.Packet{}
		h.first++
	}
	slot := &h.slots[h.next%keptPackets]
	*slot = *p
	slot.Data = bytes.Clone(p.Data) // p's is reused
	h.size += n
	h.next++
	return h.next - 1, true
}

func keptSize(p *capfile.Packet) int { return len(p.Data) + len(p.Comment) }

// span returns the number of the oldest packet and that of the next one.
func (h *keeper) span() (first, next uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.first, h.next
}

// get returns a packet, or false if it is not kept any more.
func (h *keeper) get(number uint64) (p capfile.Packet, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if number < h.first || number >= h.next {
		return p, false
	}
	return h.slots[number%keptPackets], true // whose Data is not changed any more
}

// pause keeps the packets that there are, and no further ones, or ends that.
func (h *keeper) pause(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.paused = on
}

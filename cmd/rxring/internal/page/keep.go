package page

import (
	"sync"

	"github.com/rxring/rxring/source/file/capfile"
)

const (
	// keptPackets is how many packets of a table can be opened: as many as it has rows.
	keptPackets = 10_000
	// keptBytes limits their size. Beyond it the oldest go first.
	keptBytes = 8 << 20
	// maxShown is how many bytes of a packet are kept.
	maxShown = 16 << 10
)

// kept is a packet that can be opened.
type kept struct {
	packet   capfile.Packet // its Data has at most maxShown bytes
	captured int            // bytes
}

// keeper has the latest packets of a table. Its methods may be called concurrently.
type keeper struct {
	mu     sync.Mutex
	slots  []kept // packet n is at n % keptPackets
	first  uint64 // number of the oldest packet
	next   uint64 // number of the next packet
	bytes  int
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
		h.slots = make([]kept, keptPackets)
	}
	n := min(len(p.Data), maxShown)
	for h.next-h.first == keptPackets || h.bytes+n > keptBytes {
		oldest := &h.slots[h.first%keptPackets]
		h.bytes -= len(oldest.packet.Data)
		*oldest = kept{}
		h.first++
	}
	slot := &h.slots[h.next%keptPackets]
	*slot = kept{*p, len(p.Data)}
	slot.packet.Data = append(make([]byte, 0, n), p.Data[:n]...) // p's is reused
	h.bytes += n
	h.next++
	return h.next - 1, true
}

// get returns a packet, or false if it is not kept any more.
func (h *keeper) get(number uint64) (p kept, ok bool) {
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

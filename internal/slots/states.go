package slots

import "github.com/rxring/rxring/tpacket"

// State is what an observer sees of a slot or a block. The higher, the further it
// is from receiving a packet.
type State uint8

const (
	Free    State = iota // the writers', and none has it
	Writing              // a writer fills it; a block: it has packets, and the reader does not have it yet
	Reading              // the reader has it
)

// States draws the slots: see Draw. filled reports whether a writer fills a slot;
// head is the next one to be filled.
func (s *Slots) States(cells []State, head uint64, filled func(slot uint32) bool) (n, at int) {
	return Draw(cells, s.Geo.FrameNr, head%uint64(s.Geo.FrameNr), func(slot uint32) State {
		// Ownership is read first: after a slot's release is visible, so is its status,
		// or that which the reader stored later.
		writing := filled(slot)
		switch {
		case s.Status(slot) != tpacket.StatusKernel:
			return Reading
		case writing:
			return Writing
		}
		return Free
	})
}

// Draw stores the states of slots in cells[:n], in the order of the ring: as many
// neighbours in each cell as there are too many slots, which shows the one that is
// furthest from free. The slot head is in cell at. load returns a slot's state.
func Draw(cells []State, slots uint32, head uint64, load func(uint32) State) (n, at int) {
	n = int(min(uint64(len(cells)), uint64(slots)))
	if n == 0 {
		return 0, 0
	}
	first := func(cell int) uint32 { return uint32(uint64(cell) * uint64(slots) / uint64(n)) }
	for cell := range n {
		cells[cell] = Free
		for slot := first(cell); slot < first(cell+1) && cells[cell] != Reading; slot++ {
			cells[cell] = max(cells[cell], load(slot))
		}
	}
	// The last cell that does not start behind head.
	return n, int(((head+1)*uint64(n) - 1) / uint64(slots))
}

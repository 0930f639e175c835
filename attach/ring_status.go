package attach

import (
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/tpacket"
)

// maxStates is the greatest length of RingStatus.States.
const maxStates = 256

// stateLetters are the letters of RingStatus.States.
var stateLetters = [...]byte{slots.Free: '.', slots.Writing: 'w', slots.Reading: 'R'}

// ringStatus is a snapshot of b.
func ringStatus(b writer.Buffer) *RingStatus {
	g := b.Geometry()
	s := &RingStatus{Version: g.Version.String(), Slots: g.FrameNr, SlotBytes: g.FrameSize}
	if g.Version == tpacket.V3 {
		s.Slots, s.SlotBytes = g.BlockNr, g.BlockSize
	}
	var cells [maxStates]slots.State
	n, head := b.States(cells[:])
	letters := make([]byte, n)
	for i, c := range cells[:n] {
		letters[i] = stateLetters[c]
	}
	s.States, s.Head = string(letters), head
	return s
}

package ring

import (
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/tpacket"
)

// slotReader is a Reader's part for rings of slots.
type slotReader struct {
	slots.Slots
	memory  Memory // keeps it reachable, as long as a Frame is
	slot    uint32 // the next
	address int    // where a slot has its sockaddr_ll
}

func newSlotReader(m Memory, g tpacket.Geometry) (*slotReader, error) {
	s, err := slots.New(m.Bytes(), g)
	if err != nil {
		return nil, err
	}
	return &slotReader{Slots: s, memory: m, address: tpacket.Align(g.Version.HeaderSize())}, nil
}

func (rd *slotReader) ready() bool { return rd.Status(rd.slot) != tpacket.StatusKernel }

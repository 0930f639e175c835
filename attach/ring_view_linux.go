package attach

import (
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// ringView is a mapping of a ring, to read the status words.
type ringView struct {
	memory ring.Memory
	n      uint32
	status func(i uint32) uint32
	blocks *slots.Blocks // nil: it has slots
}

// maxView is the largest number of slots, or blocks, whose status words are read to find that a
// ring is empty: some microseconds, if all are in another processor's cache.
const maxView = 512

// newRingView maps the ring of g's shape at the beginning of fd, a memfd of size bytes. It returns
// nil if the ring has too many slots. It must be called before the server seals the memory.
func newRingView(fd, size int, g tpacket.Geometry) (*ringView, error) {
	v := &ringView{n: g.FrameNr}
	if g.Version == tpacket.V3 {
		v.n = g.BlockNr
	}
	if v.n > maxView {
		return nil, nil
	}
	var err error
	if v.memory, err = ring.MapMemory(fd, size); err != nil {
		return nil, err
	}
	if g.Version == tpacket.V3 {
		var b slots.Blocks
		b, err = slots.NewBlocks(v.memory.Bytes(), g)
		v.status, v.blocks = b.Status, &b
	} else {
		var s slots.Slots
		s, err = slots.New(v.memory.Bytes(), g)
		v.status = s.Status
	}
	if err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// close unmaps the ring. A status word that is read afterwards is the writers'. A nil v is valid.
func (v *ringView) close() {
	if v != nil {
		v.memory.Close()
	}
}

// isEmpty reports whether all of the ring is the writers'.
func (v *ringView) isEmpty() bool {
	for i := range v.n {
		if v.status(i) != tpacket.StatusKernel {
			return false
		}
	}
	return true
}

// isReadable reports whether a ring of blocks is readable, by packet_poll's rule: the block before
// the open one is the reader's. The open block is the newest, unless the reader has not handed
// back the one that is to follow. Of a ring of slots it is not known.
func (v *ringView) isReadable() bool {
	if v.blocks == nil {
		return false
	}
	newest, seq := uint32(0), uint64(0)
	for i := range v.n {
		if s := v.blocks.Desc(i).SeqNum; s > seq {
			newest, seq = i, s
		}
	}
	return v.status(newest) != tpacket.StatusKernel || v.status((newest+v.n-1)%v.n) != tpacket.StatusKernel
}

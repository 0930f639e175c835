package writer

import (
	"math/bits"

	"github.com/rxring/rxring/tpacket"
)

// A fillLayout is the layout of the open word for a ring's shape. From the lowest
// bit: how many units of the block are reserved; for how many packets; the number of
// the block, lap<<shift | block, without its highest bits.
//
// All three change together, so a packet is counted in the instant in which its
// bytes are reserved, and a writer that retires a block knows how many packets will
// be completed in it.
type fillLayout struct {
	units  uint64 // mask; at its highest values nothing can be reserved
	packet uint64 // one packet
	number uint8  // shift
	lap    uint8  // shift, in a number
	last   uint32 // block of a lap
}

// The units, when there is no open block to reserve in.
func (l *fillLayout) closed() uint64 { return l.units }     // the ring is closed
func (l *fillLayout) frozen() uint64 { return l.units - 1 } // the block has yet to be opened: Linux's frozen queue
func (l *fillLayout) moving() uint64 { return l.units - 2 } // a writer is opening the next block
func (l *fillLayout) parked() uint64 { return l.units - 3 } // the block is open and empty, and the timer does not run

func newFillLayout(g tpacket.Geometry) (l fillLayout, ok bool) {
	units := bits.Len32(g.BlockSize/unit + 4)
	packets := bits.Len32(g.BlockSize / leastSize)
	l = fillLayout{
		units:  1<<units - 1,
		packet: 1 << units,
		number: uint8(units + packets),
		lap:    uint8(bits.Len32(g.BlockNr - 1)),
		last:   g.BlockNr - 1,
	}
	return l, l.number+l.lap <= 64
}

// packets is the number of packets in fill o.
func (l *fillLayout) packets(o uint64) uint64 { return o & (1<<l.number - 1) / l.packet }

// block is the block of fill o.
func (l *fillLayout) block(o uint64) uint32 { return uint32(o >> l.number & (1<<l.lap - 1)) }

// begin is a fill of the same block, without packets.
func (l *fillLayout) begin(o, units uint64) uint64 { return o>>l.number<<l.number | units }

// next is a fill of the block after that of o, without packets.
func (l *fillLayout) next(o, units uint64) uint64 {
	n := o>>l.number + 1
	if l.block(o) == l.last {
		n = (o>>l.number>>l.lap + 1) << l.lap
	}
	return n<<l.number | units
}

package writer

import (
	"math/bits"

	"github.com/rxring/rxring/tpacket"
)

// An openLayout is the layout of the open word for a ring's shape. From the lowest
// bit: how many units of the block are reserved; for how many packets; the number of
// the block, lap<<shift | block, without its highest bits.
//
// All three change together, so a packet is counted in the instant in which its
// bytes are reserved, and a writer that retires a block knows how many packets will
// be completed in it.
type openLayout struct {
	units  uint64 // mask; at its highest values nothing can be reserved
	packet uint64 // one packet
	number uint8  // shift
	lap    uint8  // shift, in a number
	last   uint32 // block of a lap
}

// The units, when there is no open block to reserve in.
func (l *openLayout) closed() uint64 { return l.units }     // the ring is closed
func (l *openLayout) frozen() uint64 { return l.units - 1 } // the block has yet to be opened: Linux's frozen queue
func (l *openLayout) moving() uint64 { return l.units - 2 } // a writer is opening the next block
func (l *openLayout) parked() uint64 { return l.units - 3 } // the block is open and empty, and the timer does not run

func newOpenLayout(g tpacket.Geometry) (l openLayout, ok bool) {
	units := bits.Len32(g.BlockSize/unit + 4)
	packets := bits.Len32(g.BlockSize / leastSize)
	l = openLayout{
		units:  1<<units - 1,
		packet: 1 << units,
		number: uint8(units + packets),
		lap:    uint8(bits.Len32(g.BlockNr - 1)),
		last:   g.BlockNr - 1,
	}
	return l, l.number+l.lap <= 64
}

// packets is the number of packets in open word o.
func (l *openLayout) packets(o uint64) uint64 { return o & (1<<l.number - 1) / l.packet }

// block is the block of open word o.
func (l *openLayout) block(o uint64) uint32 { return uint32(o >> l.number & (1<<l.lap - 1)) }

// begin is the open word of the same block, without packets.
func (l *openLayout) begin(o, units uint64) uint64 { return o>>l.number<<l.number | units }

// next is the open word of the block after that of o, without packets.
func (l *openLayout) next(o, units uint64) uint64 {
	n := o>>l.number + 1
	if l.block(o) == l.last {
		n = (o>>l.number>>l.lap + 1) << l.lap
	}
	return n<<l.number | units
}

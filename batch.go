package rxring

import "sync"

// Batch collects packets of one device that are delivered together, for adapters around
// a stack or a tunnel. It is reused, and allocates nothing in the long run. One goroutine
// at a time may use a Batch.
//
//	if b := dev.Batch(); b != nil { // nil: no socket is attached, and there is nothing to do
//		for i, n := range sizes {
//			p := b.Next()
//			p.Data, p.Outgoing = bufs[i][offset:offset+n], true
//		}
//		b.Deliver()
//	}
type Batch struct {
	dev     *Device
	n       int // packets in use
	packets [maxBatch]Packet
	pieces  [][]byte // of all packets: their Rest
	rest    int      // where those of the last packet begin
}

// maxKeptPieces is how many pieces a Batch keeps room for when it is not used.
const maxKeptPieces = 16 * maxBatch

var batches = sync.Pool{New: func() any { return new(Batch) }}

// Batch returns an empty batch for the device, or nil if HasListeners is false. The caller
// must call Deliver once it has added its packets.
func (d *Device) Batch() *Batch {
	if d.taps.Load() == nil { // a hint: Deliver loads it again
		return nil
	}
	return d.newBatch()
}

func (d *Device) newBatch() *Batch {
	b := batches.Get().(*Batch)
	b.dev = d
	return b
}

// Next adds a packet and returns it, zero, for the caller to fill. If the batch is full, the
// packets in it are delivered first. The packet and the bytes that it refers to must stay
// as they are until Deliver returns.
func (b *Batch) Next() *Packet {
	if b.n == len(b.packets) {
		b.flush()
	}
	b.n++
	b.rest = len(b.pieces)
	return &b.packets[b.n-1]
}

// AddPiece appends to the packet that Next returned last: the first piece becomes its Data,
// which must hold the whole link-layer header, and those after it its Rest. Empty pieces are
// left out.
func (b *Batch) AddPiece(piece []byte) {
	p := &b.packets[b.n-1]
	switch {
	case len(piece) == 0:
	case p.Data == nil:
		p.Data = piece
	default:
		b.pieces = append(b.pieces, piece)
		p.Rest = b.pieces[b.rest:]
	}
}

// Deliver delivers the packets, as [Device.DeliverBatch] does, and ends the batch: the caller
// must not use it any more.
func (b *Batch) Deliver() {
	b.flush()
	b.dev = nil
	if cap(b.pieces) > maxKeptPieces {
		b.pieces = nil
	}
	batches.Put(b)
}

// flush delivers the packets and leaves the batch empty. It keeps no reference to their
// bytes.
func (b *Batch) flush() {
	if b.n == 1 { // most calls of a network stack have one packet
		b.dev.Deliver(&b.packets[0])
	} else {
		b.dev.DeliverBatch(b.packets[:b.n])
	}
	clear(b.packets[:b.n])
	clear(b.pieces)
	b.n, b.pieces = 0, b.pieces[:0]
}

// Package writer is the writers' side of a ring: ownership of a slot or a block while
// a packet is copied into it, and its release to the reader.
//
// A writer takes three steps. [Ring.Acquire] returns the head slot, if that is
// free; the caller fills the slot with no lock held; [Ring.Release] hands the slot
// to the reader. TPACKET_V3 has blocks in place of slots, with many packets in
// each: [Blocks.Acquire] returns a [Reservation] in the open block, and the last
// writer in a block hands it to the reader.
//
// The one invariant: between Acquire and Release a slot, or a packet's bytes in a
// block, have one writer, whatever is stored to the shared memory meanwhile.
// Ownership is recorded in private memory. Of the shared memory only one thing is
// believed: whether a status word says that the slot or block is the writers'.
package writer

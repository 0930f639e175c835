// Package ring is the receive ring itself: its memory, its slots or blocks,
// who owns them, and how a sleeping reader is woken.
//
// A writer takes three steps. [Ring.Acquire] gives it the head slot, if that is
// free; it fills the slot's bytes with no lock held; [Ring.Release] hands the
// slot to the reader. The reader waits for a slot's status word to say USER,
// reads the slot in place, and stores KERNEL to give it back ([Reader] does so
// in Go; other programs do it in memory that they mapped).
//
// TPACKET_V3 has blocks in place of slots, with many packets in each: [Blocks].
// There Acquire gives room in the open block, and the last writer in a block
// hands it to the reader.
//
// The one invariant: between Acquire and Release a slot, or a packet's room in a
// block, has one writer, whatever anybody stores into the shared memory
// meanwhile. Who owns it is written down in private memory, and of the shared
// memory only one thing is believed: whether a status word says that slot or
// block is the writers'.
package ring

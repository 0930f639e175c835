// Package ring is the receive ring itself: its memory, its slots, who owns
// them, and how a sleeping reader is woken.
//
// A writer takes three steps. [Ring.Acquire] gives it the head slot, if that is
// free; it fills the slot's bytes with no lock held; [Ring.Release] hands the
// slot to the reader. The reader waits for a slot's status word to say USER,
// reads the slot in place, and stores KERNEL to give it back ([Reader] does so
// in Go; other programs do it in memory that they mapped).
//
// The one invariant: between Acquire and Release a slot has one writer,
// whatever anybody stores into the shared memory meanwhile. Who owns a slot is
// written down in private memory, and of the shared memory only one thing is
// believed: whether a status word equals KERNEL.
package ring

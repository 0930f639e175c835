// Package ring reads a receive ring: the shared memory that AF_PACKET's readers
// map, in the layout of TPACKET_V1, V2 or V3. Its writers are rxring's own, in
// this process or another one, or the kernel.
//
// The reader waits until a slot's status word is not KERNEL, reads the packet in
// place ([Frame]), and stores KERNEL to hand the slot back. TPACKET_V3 has blocks
// in place of slots, with many packets in each; a block is handed back with the last
// of them. [Reader] does both.
//
// The one invariant: nothing in the shared memory is trusted. Each word that is acted on is loaded
// once, and each offset is bounded before it is used, so a [Frame] lies in the ring
// whatever the writers, or other readers, store there.
//
// [Verdict] names why a packet was dropped before it got into a ring, and [Totals]
// counts by it.
package ring

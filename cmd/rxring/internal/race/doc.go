// Package race runs the designs of package ownership on real goroutines, in real
// shared memory, and shows the faults of each.
//
// Writers acquire slots, fill them with self-describing content and release them;
// some of them stall in mid-copy, or within a release that the design leaves open.
// One lawful reader copies each packet out and checks every byte. The run of a
// design consists of rounds, each with a new ring; after a round, when no writer owns
// a slot and the reader has handed back all of them, slots can still be acquired.
//
// The one invariant: what is counted is proven. A torn packet is kept, byte by byte;
// a packet counts as lost for nothing only when no writer can have owned its slot;
// the timeline of a torn packet is drawn from recorded times.
//
// [Kernel] does the same with the packet socket of the running kernel.
package race

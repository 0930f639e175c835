// Package race runs the ownership designs of package ring on real goroutines,
// in real shared memory, and shows what each of them lets happen.
//
// Writers take slots, fill them with content that describes itself and release
// them; some of them stall in mid-copy, or within a release that the design
// leaves open. One lawful reader copies each packet out and checks every byte.
// The run of a design is cut into rounds, each with a fresh ring; after a round,
// when no writer holds a slot and the reader has handed everything back, the
// ring must still give slots.
//
// The one invariant: what is counted is proven. A torn packet is kept, byte by
// byte; a packet counts as lost for nothing only when no writer can have held
// its slot; the timeline of a torn packet is drawn from recorded times.
//
// [Kernel] asks the same of the packet socket of the running kernel.
package race

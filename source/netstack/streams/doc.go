// Package streams feeds a device with TCP streams that never pause.
//
// Two gVisor network stacks are joined by a link. The device is the first
// stack's network card; each of the flows, like netperf's TCP_STREAM, writes
// from its own goroutine as fast as the other stack takes it. What the card
// sends and what it receives goes to [rxring.Device.Deliver], by the goroutine
// that sends it: several at once, in large segments (GSO) of up to 64 KiB, the
// traffic under which Linux's receive ring used to tear packets.
//
// What packet sockets send through the device reaches the second stack, which
// answers as any host does.
//
// The one invariant: package payload defines every byte of every stream, so a captured
// segment can be checked.
package streams

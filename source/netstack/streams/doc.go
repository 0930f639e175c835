// Package streams delivers continuous TCP streams to a device.
//
// A link joins two gVisor network stacks. The device is the first stack's network card; each
// flow, like netperf's TCP_STREAM, writes from its own goroutine as fast as the other stack
// reads. The card's outgoing and incoming packets are delivered on the goroutines that send
// them: several at once, in large segments (GSO) of up to 64 KiB, the traffic under which
// Linux's receive ring corrupted packets. While no socket receives from the device, flows pause.
//
// What packet sockets send through the device reaches the second stack, which answers as any
// host does.
//
// The one invariant: every byte of every stream is determined by package payload, so that every
// captured segment can be verified.
package streams

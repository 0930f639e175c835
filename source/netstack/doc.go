// Package netstack delivers the packets of a gVisor network stack to a device.
//
// [Add] and [Wrap] return the link endpoint from which the stack creates its network card, in
// place of the one below it. The stack's outgoing packets are delivered to the device before
// the link sends them, and incoming packets before the stack parses them, each within the
// call that passes it on:
//
//	stack ⇄ Endpoint ⇄ link
//	            ↓
//	      Device.Deliver
//
// The link also sends what packet sockets send through the device.
//
// The one invariant: the device receives every packet exactly once, as its bytes are on the
// link, and without a copy; no packet is referenced once the call has returned.
package netstack

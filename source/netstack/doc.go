// Package netstack delivers the packets of a gVisor network stack to a device.
//
// [New] wraps the link endpoint from which the stack creates its network card. The stack's
// outgoing packets are delivered to the device before the link sends them, and incoming
// packets before the stack parses them, each within the call that passes it on:
//
//	stack ⇄ New's endpoint ⇄ link
//	             ↓
//	       Device.Deliver
//
// [Transmit] sends what packet sockets send through the device by the same link. A program
// with a link endpoint of its own can call [Deliver] instead of New.
//
// The one invariant: the device receives every packet exactly once, as its bytes are on the
// link, and without a copy; no packet is referenced once Deliver has returned.
package netstack

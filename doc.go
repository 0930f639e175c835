// Package rxring is Linux's packet socket and its receive ring, in user space.
//
// A [Namespace] holds devices and the sockets on them. Writers hand packets to
// [Device.Deliver], from any number of goroutines; every [Socket] bound to the
// device filters, cuts and copies them into its ring, whose memory is laid out
// as the kernel's. Readers, in this process or another, map that memory. A socket
// without a ring queues its packets for [Socket.Recv].
//
// Sockets send, too: [Socket.Send] and [Socket.SetTxRing]. The function that
// [Device.SetTransmit] sets is the wire.
//
// The one invariant: a writer never waits for a reader. What does not fit is
// dropped and counted, and for each socket delivered, dropped and filtered add
// up to what was offered.
//
//	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
//	net0, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0", MTU: 1500})
//	...
//	net0.Deliver(&rxring.Packet{Data: frame}) // one atomic load when nobody looks
//
// Package interpose runs an unmodified tcpdump on such a namespace.
package rxring

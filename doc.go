// Package rxring is Linux's packet socket and its receive ring, in user space.
//
// A [Namespace] holds devices and the sockets on them. Writers deliver packets to a
// [Device], from any number of goroutines; readers, in this process or another, map a
// [Socket]'s ring, whose memory is laid out as the kernel's. A socket without a ring queues
// its packets for [Socket.Recv]. Sockets send with [Socket.Send]; the function set by
// [Device.SetTransmit] receives what they send.
//
//	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
//	net0, err := ns.AddDevice(rxring.DeviceConfig{Name: "net0", MTU: 1500})
//	...
//	net0.Deliver(&rxring.Packet{Data: frame}) // one atomic load if no socket is attached
//
// # The invariant
//
// A writer never waits for a reader. A packet that does not fit is dropped and counted: for
// each socket, delivered, dropped and filtered packets add up to those offered.
//
// # The life of a packet
//
//   - Device.Deliver (deliver.go) loads the device's taps: its sockets and fanout groups.
//   - packetMeta.measure (meta.go, link.go) computes once what is the same for all of them:
//     lengths, protocol, packet type, address. A VLAN tag moves beside the frame (vlan.go).
//   - A fanout group chooses a member (fanout_demux.go); a [Grant] truncates the packet
//     (grant.go).
//   - Socket.receiveOne (deliver.go) is tpacket_rcv: filter, acquire a slot, fill (fill.go),
//     release. V3 rings and sockets without a ring leave it after the filter, for receiveBlock
//     (fill.go) and enqueue (queue.go).
//   - Device.deliver counts the packet for the device, and wakes the reader of a ring of slots.
//     The reader of blocks is woken when one is released, or by its timer (BlocksConfig.Wake).
//   - DeliverBatch has the same steps for up to 32 packets, in offerBatch and receiveBatch.
//   - What a socket sends (send.go) is delivered to the other sockets as outgoing, and passed
//     to the device's transmit function; transmit.go has the transmit rings, too.
//
// # Locks
//
// They are acquired in this order. A function whose name ends in Locked must be called with
// the lock of its receiver held, or that of the namespace for receivers without one.
//
//	Socket.txMu     sending from a transmit ring, moving rings
//	Socket.mu       options, filter, rings, grant, fanout group
//	Namespace.mu    devices, bindings, memberships, fanout members; callbacks run after it
//	queue.mu        packets in a receive queue
//
// Delivering takes none of them but queue.mu: writers load published, immutable values
// (Device.taps, Socket.rx, group.members), each beside a comment that names its store.
package rxring

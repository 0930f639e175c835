// Package iface feeds a device with what passes a live Linux interface, through
// the kernel's own receive ring: captures can be lent to those who may not open
// one.
//
// Packets are delivered out of the kernel's blocks, where they lie: the only copies
// are those in the readers' rings. With them goes what the kernel knows of each:
// direction, time, VLAN tag, checksum state and, of large segments, how they are to
// be cut (a virtio_net_hdr). On a loopback interface each packet passes twice, as it
// goes out and as it comes in, and is delivered twice, as Linux shows it.
//
// The one invariant: the kernel is asked for no more than the device's sockets want.
// While nobody reads there is no packet socket; the interface is promiscuous, and
// hears other addresses, as long as a reader asks for it; and when all readers have
// the same filter the kernel runs it, too.
//
// A receiver without room for all that came is late: it gets the rest when its reader has
// handed slots back, for a bounded time; the kernel's ring holds the packets meanwhile. The
// other receivers get theirs at once.
//
// What the kernel's rings had no room for is offered, too: each socket counts it as
// dropped (rxring.Device.Lost), whatever its filter, unless the kernel ran that. It is
// asked in time, and who is bound later neither counts nor gets what was before. What
// the kernel cannot say in a virtio_net_hdr, large segments of SCTP, it drops and
// counts likewise. What a device says of its MTU and addresses is as it was described: only up
// and down follow the interface.
//
// What packet sockets send through the device leaves by the interface, with its
// checksum and segmentation offloads, its tag, mark and priority, through the qdisc or
// past it (PACKET_QDISC_BYPASS). As in Linux, the other packet sockets see it once,
// outgoing, and its sender does not; Config.NoSend switches sending off. The device's
// sockets see a frame when it is sent, with that time, before the qdisc: one that the
// qdisc drops later (the sender gets ENOBUFS) they have seen, and packets that the
// kernel still holds in a block come after it, for up to Config.Retire. Senders share
// the send buffer of one kernel socket: when it is full, sending is EAGAIN, and a program
// under rxring run waits for room if its socket blocks. With a kernel before 6.14, a
// frame's priority is that of the socket, 0.
package iface

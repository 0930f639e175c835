// Package iface delivers the packets of a live Linux interface to a device, through the
// kernel's own receive ring. Users who may not open a packet socket can then capture on the
// device.
//
// Packets are delivered in place, from the kernel's blocks: the only copies are those in the
// readers' rings. Each has the metadata that the kernel gives: direction, time, VLAN tag,
// checksum state and, for a large segment, how it is to be divided (struct virtio_net_hdr). On
// a loopback interface Linux shows each packet twice, outgoing and incoming, and both are
// delivered.
//
// The one invariant: the kernel does no more than the device's sockets need. Without a reader
// there is no packet socket; the interface is promiscuous, and receives further addresses,
// while a reader asks for it; and when all readers have the same filter the kernel runs it,
// too.
//
// A receiver without room for a whole batch is late: it receives the rest, for a bounded time,
// when its reader has released slots; the packets stay in the kernel's ring meanwhile. The
// other receivers get theirs at once.
//
// Packets for which the kernel's rings had no room are offered, too: each socket counts them as
// dropped (rxring.Device.Lost), whatever its filter, unless the kernel ran the filter. The
// count is read before a socket is bound, so that the socket neither counts nor receives
// earlier packets. Large segments of SCTP, which a virtio_net_hdr cannot describe, are dropped
// by the kernel and counted likewise.
//
// The device is up while the interface is, is removed with it, and follows changes of its MTU and offloads
// (rxring.Device.SetMTU). Its addresses stay as Describe found them.
//
// What packet sockets send through the device leaves by the interface, with its checksum and
// segmentation offloads, tag, mark and priority, through the qdisc or, with
// PACKET_QDISC_BYPASS, past it. As in Linux, the other packet sockets receive the frame once,
// outgoing, and its sender does not; Config.NoSend disables sending. The device's sockets
// receive a frame when it is sent, with that time, before the qdisc: also one that the qdisc
// drops later (the sender gets ENOBUFS). Packets that the kernel still holds in a block follow
// it, for up to Config.Retire. Senders share the send buffer of one kernel socket: when it is
// full, sending fails with EAGAIN, and a program under rxring run waits for room if its socket
// blocks. Before Linux 6.14, a frame's priority is the socket's, 0.
package iface

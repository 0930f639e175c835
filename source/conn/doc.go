// Package conn delivers the packets that pass a connection to a device of a namespace.
//
// [Add] and [Wrap] return a net.Conn to use in place of a virtual machine's, on which
// Ethernet frames follow each other with a [Framing]:
//
//	vm, err := conn.Add(ns, vm, conn.QEMU, conn.Config{Name: "vm0"})
//	...
//	network.AcceptQemu(ctx, vm) // as before
//
// [ReadWriter] does the same for a TUN or TAP device, or a pipe, with one packet a call.
//
// What is read from a connection is incoming, as on the tap device to which a hypervisor
// connects a machine; what is written to it is outgoing. With [Config].Send, programs can send
// to the machine: their frames are written between those of the connection's user.
//
// The one invariant: each frame is delivered once, when its last byte is read, or before its
// last byte is written. The bytes that pass are those that would pass without the package, but
// for whole frames that programs send, and it keeps a bounded part of a frame, whatever length
// the peer announces.
package conn

// Package kring opens the kernel's own packet sockets for comparison: a private
// network namespace, TAP and TUN devices in it that receive packets from the test,
// and real AF_PACKET sockets with mapped receive rings.
//
// Everything hangs off a [Namespace]. Its devices and sockets are plain file
// descriptors, so they may be used from any goroutine; only making them needs
// the namespace's own thread, and the methods see to that.
//
// A packet written with [Device.Receive] arrives from the wire, one written
// with [Device.Send] leaves through the device. Nothing else is sent there:
// IPv6, the usual source of unexpected packets, is off.
//
// Tests begin with kringtest.Run. The package is empty off Linux.
package kring

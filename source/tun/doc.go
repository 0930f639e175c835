// Package tun delivers the packets of a TUN device of WireGuard to a device of a namespace.
//
// [Add] and [Wrap] accept whatever has the methods of golang.zx2c4.com/wireguard's
// tun.Device, or those of its forks, and return a [Device] that has them too. WireGuard uses
// it in place of the one that is wrapped:
//
//	tunDev, err := tun.Add(ns, tunDev, tun.Config{Name: "wg0"})
//	...
//	dev := device.NewDevice(tunDev, conn.NewDefaultBind(), logger) // as before
//
// Packets that the tunnel reads from the inner device are outgoing, those that it writes to it
// are incoming:
//
//	inner device → Read → WireGuard → Write → inner device
//	                ↓                   ↓
//	               Batch.Deliver: outgoing, incoming
//
// The device carries raw IP, as a TUN device of Linux does. On such a device an interactive
// tcpdump has a ring of 8 slots, unless it is called with -s 1500; with [Config].Ethernet,
// which shows packets behind an Ethernet header, it has more than a thousand.
//
// A program that asserts the type of its device, such as *tun.NativeTun for its LUID on
// Windows, does so before it wraps the device.
//
// The one invariant: WireGuard reads and writes the same packets, in the same order and with
// the same errors, whether sockets are attached or not. Each packet is delivered once, as its
// bytes are, before the inner device can change them.
package tun

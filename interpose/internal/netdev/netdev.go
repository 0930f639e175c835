//go:build linux

// Package netdev says what a namespace's device looks like to programs that ask
// about devices, over netlink or by ioctl: a TAP device (Ethernet) or a TUN
// device (raw IP) of Linux that has a carrier, or a loopback device. The offloads of
// segments are on if the device carries any.
package netdev

import (
	"cmp"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// Kind is the devices' IFLA_INFO_KIND (drivers/net/tun.c).
const Kind = "tun"

// All lists a namespace's devices by index, with the loopback device that it began
// with.
func All(ns *rxring.Namespace) []*rxring.Device {
	devices := ns.Devices()
	if lo := ns.Loopback(); lo != nil {
		devices = slices.Insert(devices, 0, lo) // its index is 1
	}
	return devices
}

// Flags is the device's IFF_* flags, as dev_get_flags (net/core/dev.c) gives
// them: IFF_PROMISC is not among them, however many sockets asked for it. The
// low 16 bits are SIOCGIFFLAGS'.
func Flags(d *rxring.Device) uint32 {
	f := uint32(unix.IFF_MULTICAST)
	if d.Type() == rxring.Loopback {
		f = unix.IFF_LOOPBACK
	}
	if d.Up() {
		f |= unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
	}
	switch d.Type() {
	case rxring.Loopback:
		return f
	case rxring.Ethernet:
		return f | unix.IFF_BROADCAST
	}
	return f | unix.IFF_POINTOPOINT | unix.IFF_NOARP
}

// TxQueueLen is the device's queue length in packets.
func TxQueueLen(d *rxring.Device) uint32 {
	if d.Type().Ethernet() {
		return 1000 // DEFAULT_TX_QUEUE_LEN (linux/netdevice.h)
	}
	return 500 // TUN_READQ_SIZE (drivers/net/tun.c)
}

// MTUs is the range of MTUs that the device could have, in bytes; 0: no bound.
func MTUs(d *rxring.Device) (least, most uint32) {
	const minIP, maxIP, etherLen = 68, 65535, 14
	switch d.Type() {
	case rxring.Loopback:
		return 0, 0
	case rxring.Ethernet:
		return minIP, maxIP - etherLen
	}
	return minIP, maxIP
}

// LegacyGSOMaxSize is how many bytes the longest segment has unless BIG TCP was set up
// (GSO_LEGACY_MAX_SIZE, linux/netdevice.h), also where offloads are off.
const LegacyGSOMaxSize = 1 << 16

// GSOMaxSize is IFLA_GSO_MAX_SIZE: the default, unless the device carries longer
// segments (BIG TCP).
func GSOMaxSize(d *rxring.Device) uint32 { return max(LegacyGSOMaxSize, uint32(d.MaxLen())) }

// Address is an address of a device's, as Linux keeps it.
type Address struct {
	netip.Prefix
	Scope     uint8 // RT_SCOPE_*
	Secondary bool  // of an IPv4 network that the device has another address of
}

// Addresses lists a device's IPv4 or IPv6 addresses in Linux's order. That is by
// scope: of IPv4, those that reach least come first, and secondary ones last; of
// IPv6, those that reach furthest, and of these the newest. A device that is down
// has no IPv6 ones.
func Addresses(d *rxring.Device, ipv4 bool) []Address {
	if !ipv4 && !d.Up() {
		return nil
	}
	var as []Address
	for _, p := range d.Prefixes() {
		switch {
		case p.Addr().Is4() != ipv4:
		case ipv4:
			secondary := slices.ContainsFunc(as, func(o Address) bool { return o.Masked() == p.Masked() })
			as = append(as, Address{p, scope(p.Addr()), secondary})
		default:
			as = slices.Insert(as, 0, Address{p, scope(p.Addr()), false})
		}
	}
	slices.SortStableFunc(as, func(a, b Address) int {
		switch {
		case a.Secondary != b.Secondary && a.Secondary:
			return 1
		case a.Secondary != b.Secondary:
			return -1
		case ipv4:
			return cmp.Compare(b.Scope, a.Scope)
		}
		return cmp.Compare(a.Scope, b.Scope)
	})
	return as
}

func scope(ip netip.Addr) uint8 {
	switch {
	case ip.IsLoopback():
		return unix.RT_SCOPE_HOST
	case ip.Is6() && ip.IsLinkLocalUnicast():
		return unix.RT_SCOPE_LINK
	}
	return unix.RT_SCOPE_UNIVERSE
}

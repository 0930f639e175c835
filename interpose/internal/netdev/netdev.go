//go:build linux

// Package netdev defines how a namespace's devices look to programs, in netlink, ioctls
// and files: as a TAP device (Ethernet) or a TUN device (raw IP) of Linux that has a
// carrier, or as a loopback device. Segmentation offloads are on if the device carries
// segments.
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

// All lists a namespace's devices by index, including the loopback device.
func All(ns *rxring.Namespace) []*rxring.Device {
	devices := ns.Devices()
	if lo := ns.Loopback(); lo != nil {
		devices = slices.Insert(devices, 0, lo) // its index is 1
	}
	return devices
}

// Flags are the device's IFF_* flags, as dev_get_flags (net/core/dev.c) returns them:
// without IFF_PROMISC, however many sockets ask for it. The low 16 bits are those of
// SIOCGIFFLAGS.
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

// MTUs is the range of MTUs that the device may have, in bytes; 0: no bound.
func MTUs(d *rxring.Device) (least, most uint32) {
	const minIP, maxIP, etherLen = 68, 65535, 14
	switch d.Type() {
	case rxring.Loopback:
		return 0, 0
	case rxring.Ethernet:
		most = maxIP - etherLen
	default:
		most = maxIP
	}
	return minIP, max(most, uint32(d.MTU())) // a TUN or TAP device's cannot be longer
}

// LegacyGSOMaxSize is the length in bytes of the longest segment without BIG TCP
// (GSO_LEGACY_MAX_SIZE, linux/netdevice.h), also if offloads are off.
const LegacyGSOMaxSize = 1 << 16

// GSOMaxSize is IFLA_GSO_MAX_SIZE: the default, unless the device carries longer
// segments (BIG TCP).
func GSOMaxSize(d *rxring.Device) uint32 { return max(LegacyGSOMaxSize, uint32(d.MaxLen())) }

// Address is an address of a device, as Linux keeps it.
type Address struct {
	netip.Prefix
	Scope     uint8 // RT_SCOPE_*
	Secondary bool  // the device has another address of the same IPv4 network
}

// Addresses lists a device's IPv4 or IPv6 addresses in Linux's order, which is by scope.
// Of IPv4, the narrowest scope is first, and secondary addresses are last; of IPv6, the
// widest scope is first, and in it the newest address. A device that is down has no IPv6
// addresses.
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

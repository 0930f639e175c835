//go:build linux

package netdev

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// Route is a route that Linux makes because a device has an address. The protocol of
// all is RTPROT_KERNEL, and none has a gateway.
type Route struct {
	Dst    netip.Prefix
	Device *rxring.Device
	Table  uint8      // RT_TABLE_MAIN or RT_TABLE_LOCAL
	Type   uint8      // RTN_*
	Scope  uint8      // RT_SCOPE_*; for IPv6 always RT_SCOPE_UNIVERSE
	Src    netip.Addr // the preferred source; none for IPv6
	Metric uint32     // lower ones are preferred; for IPv4 always 0
}

// Routes4 lists the IPv4 routes of devices in Linux's order: the main table first, each
// table by address, and for one address the longest prefix first.
func Routes4(devices []*rxring.Device) (routes []Route) {
	for _, d := range devices {
		first := len(routes) // of the device
		for _, r := range addrRoutes4(d) {
			if !slices.Contains(routes[first:], r) {
				routes = append(routes, r)
			}
		}
	}
	slices.SortStableFunc(routes, func(a, b Route) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), a.Dst.Addr().Compare(b.Dst.Addr()), cmp.Compare(b.Dst.Bits(), a.Dst.Bits()))
	})
	return routes
}

// addrRoutes4 lists the routes of a device's IPv4 addresses, in the order in which
// fib_add_ifaddr (net/ipv4/fib_frontend.c) adds them. A device that is down has only those
// to its addresses.
func addrRoutes4(d *rxring.Device) (routes []Route) {
	addrs := Addresses(d, true)
	for _, p := range d.Prefixes() {
		if !p.Addr().Is4() {
			continue
		}
		i := slices.IndexFunc(addrs, func(a Address) bool { return a.Masked() == p.Masked() && !a.Secondary })
		src, primary := addrs[i].Addr(), addrs[i].Prefix == p
		add := func(dst netip.Prefix, table, typ, scope uint8) {
			routes = append(routes, Route{Dst: dst, Device: d, Table: table, Type: typ, Scope: scope, Src: src})
		}
		add(netip.PrefixFrom(p.Addr(), 32), unix.RT_TABLE_LOCAL, unix.RTN_LOCAL, unix.RT_SCOPE_HOST)
		network := p.Masked()
		if !d.Up() || !primary || network.Addr().IsUnspecified() || p.Bits() == 32 {
			continue
		}
		if d.Type() == rxring.Loopback {
			add(network, unix.RT_TABLE_LOCAL, unix.RTN_LOCAL, unix.RT_SCOPE_HOST)
		} else {
			add(network, unix.RT_TABLE_MAIN, unix.RTN_UNICAST, unix.RT_SCOPE_LINK)
		}
		if p.Bits() < 31 {
			add(netip.PrefixFrom(lastAddr(network), 32), unix.RT_TABLE_LOCAL, unix.RTN_BROADCAST, unix.RT_SCOPE_LINK)
		}
	}
	return routes
}

// lastAddr is the broadcast address of an IPv4 network.
func lastAddr(network netip.Prefix) netip.Addr {
	b := network.Addr().As4()
	ip := binary.BigEndian.Uint32(b[:]) | uint32(uint64(1)<<(32-network.Bits())-1)
	binary.BigEndian.PutUint32(b[:], ip)
	return netip.AddrFrom4(b)
}

// multicast6 is the prefix to which each device that is up has a route
// (addrconf_add_mroute in net/ipv6/addrconf.c).
var multicast6 = netip.MustParsePrefix("ff00::/8")

// metric6 is IP6_RT_PRIO_ADDRCONF (net/ipv6.h).
const metric6 = 256

// Routes6 lists the IPv6 routes of devices in Linux's order: the main table first, and a
// prefix after the longer ones that it contains. A device that is down has none.
func Routes6(devices []*rxring.Device) (routes []Route) {
	first := 0 // of the device
	add := func(r Route) {
		if !slices.Contains(routes[first:], r) {
			routes = append(routes, r)
		}
	}
	for _, d := range devices {
		if !d.Up() {
			continue
		}
		first = len(routes)
		if d.Type() != rxring.Loopback {
			add(Route{Dst: multicast6, Device: d, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_MULTICAST, Metric: metric6})
		}
		for _, p := range d.Prefixes() {
			if !p.Addr().Is6() {
				continue
			}
			add(Route{Dst: netip.PrefixFrom(p.Addr(), 128), Device: d, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL})
			if !p.Addr().IsLoopback() {
				add(Route{Dst: p.Masked(), Device: d, Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, Metric: metric6})
			}
		}
	}
	slices.SortStableFunc(routes, func(a, b Route) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), within(a.Dst, b.Dst), a.Dst.Addr().Compare(b.Dst.Addr()), cmp.Compare(a.Metric, b.Metric))
	})
	return routes
}

// within orders a prefix after those that it contains.
func within(a, b netip.Prefix) int {
	if a.Overlaps(b) {
		return cmp.Compare(b.Bits(), a.Bits())
	}
	return 0
}

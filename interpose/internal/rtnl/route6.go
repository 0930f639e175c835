//go:build linux

package rtnl

import (
	"math/bits"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/netdev"
)

// route6Policy has lengths of rtm_ipv6_policy (net/ipv6/route.c).
var route6Policy = policy{rtaMax, map[uint16]length{
	unix.RTA_GATEWAY: {least: 16}, unix.RTA_PREFSRC: {least: 16}, unix.RTA_OIF: {least: 4}, unix.RTA_IIF: {least: 4},
	unix.RTA_PRIORITY: {least: 4}, unix.RTA_MULTIPATH: {least: unix.SizeofRtNexthop}, unix.RTA_PREF: {least: 1},
	unix.RTA_ENCAP_TYPE: {least: 2}, unix.RTA_EXPIRES: {least: 4}, unix.RTA_UID: {least: 4}, unix.RTA_MARK: {least: 4},
	unix.RTA_TABLE: {least: 4}, unix.RTA_IP_PROTO: {least: 1}, unix.RTA_SPORT: {least: 2}, unix.RTA_DPORT: {least: 2},
	rtaNHID: {least: 4}, unix.RTA_DST: {least: 16}, unix.RTA_SRC: {least: 16},
}}

// getRoute6 serves RTM_GETROUTE for the route to one IPv6 address, as
// inet6_rtm_getroute does (net/ipv6/route.c).
func (s *Socket) getRoute6(r request) syscall.Errno {
	l, errno := s.parseLookup(r, &route6Policy)
	if errno != 0 {
		return errno
	}
	devices := netdev.All(s.bus.ns)
	route := longest6(netdev.Routes6(devices), l.dst, l.oif)
	if route == nil {
		return syscall.ENETUNREACH
	}
	h := header{typ: unix.RTM_NEWROUTE, seq: r.seq, port: s.port}
	if l.flags&unix.RTM_F_FIB_MATCH != 0 {
		s.reply(routeMessage(*route, h))
		return 0
	}
	out := route.Device
	if route.Type == unix.RTN_LOCAL {
		lo, ok := s.bus.ns.DeviceByName("lo")
		if !ok {
			return syscall.ENETUNREACH
		}
		out = lo
	}
	m := routeHeader{family: unix.AF_INET6, dstLen: 128, srcLen: 128, table: route.Table, protocol: unix.RTPROT_KERNEL, typ: route.Type}
	var a attrs
	a.uint32(unix.RTA_TABLE, uint32(route.Table))
	a.bytes(unix.RTA_DST, l.dst.AsSlice())
	a.bytes(unix.RTA_SRC, l.src.AsSlice())
	if src, ok := source6(devices, route.Device, l.dst); ok {
		a.bytes(unix.RTA_PREFSRC, src.AsSlice())
	}
	a.uint32(unix.RTA_PRIORITY, route.Metric)
	a.uint32(unix.RTA_OIF, uint32(out.Index()))
	a.bytes(unix.RTA_CACHEINFO, make([]byte, sizeofCacheinfo))
	a.uint8(unix.RTA_PREF, 0) // ICMPV6_ROUTER_PREF_MEDIUM
	s.reply(message(h, m.bytes(), a))
	return 0
}

// longest6 is the route to ip with the longest prefix, in the local table if there is one,
// on the device of that index; 0: any.
func longest6(routes []netdev.Route, ip netip.Addr, index int) *netdev.Route {
	for _, table := range []uint8{unix.RT_TABLE_LOCAL, unix.RT_TABLE_MAIN} {
		var best *netdev.Route
		for i := range routes {
			r := &routes[i]
			if r.Table == table && r.Dst.Contains(ip) && (index == 0 || index == r.Device.Index()) && (best == nil || r.Dst.Bits() > best.Dst.Bits()) {
				best = r
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// source6 chooses the source address of packets to dst that leave by d, by the rules of
// RFC 6724 that apply to addresses without lifetimes: ipv6_dev_get_saddr
// (net/ipv6/addrconf.c).
func source6(devices []*rxring.Device, d *rxring.Device, dst netip.Addr) (best netip.Addr, ok bool) {
	if dst.IsMulticast() || dst.IsLinkLocalUnicast() {
		devices = []*rxring.Device{d}
	}
	var bestScore [5]int
	for _, from := range devices {
		for _, a := range netdev.Addresses(from, false) {
			ip := a.Addr()
			score := [5]int{
				yes(ip == dst),
				scopeScore(scope6(ip), scope6(dst)),
				yes(from == d || d.Type() == rxring.Loopback),
				yes(label6(ip) == label6(dst)),
				common6(ip, dst, a.Bits()),
			}
			if !ok || slices.Compare(score[:], bestScore[:]) > 0 {
				best, bestScore, ok = ip, score, true
			}
		}
	}
	return best, ok
}

func yes(b bool) int {
	if b {
		return 1
	}
	return 0
}

// scopeScore prefers the least scope that reaches the destination's (rule 2).
func scopeScore(src, dst int) int {
	if src >= dst {
		return -src
	}
	return src - 128
}

// scope6 is an address' scope as RFC 4007 numbers them.
func scope6(ip netip.Addr) int {
	const linkLocal, siteLocal, global = 2, 5, 14
	switch {
	case ip.IsMulticast():
		return int(ip.As16()[1] & 0xf)
	case ip.IsLoopback(), ip.IsLinkLocalUnicast():
		return linkLocal
	case netip.MustParsePrefix("fec0::/10").Contains(ip):
		return siteLocal
	}
	return global
}

// labels6 is Linux's table of RFC 6724 labels (ip6addrlbl_init_table in
// net/ipv6/addrlabel.c), the longest prefixes first.
var labels6 = []struct {
	prefix netip.Prefix
	label  int
}{
	{netip.MustParsePrefix("::1/128"), 0},
	{netip.MustParsePrefix("::ffff:0:0/96"), 4},
	{netip.MustParsePrefix("::/96"), 3},
	{netip.MustParsePrefix("2001::/32"), 6},
	{netip.MustParsePrefix("2001:10::/28"), 7},
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("3ffe::/16"), 12},
	{netip.MustParsePrefix("fec0::/10"), 11},
	{netip.MustParsePrefix("fc00::/7"), 5},
}

func label6(ip netip.Addr) int {
	for _, l := range labels6 {
		if l.prefix.Contains(ip) {
			return l.label
		}
	}
	return 1
}

// common6 is the number of leading bits that two addresses have in common, at most n.
func common6(a, b netip.Addr, n int) int {
	x, y := a.As16(), b.As16()
	for i := range x {
		if d := x[i] ^ y[i]; d != 0 {
			return min(n, 8*i+bits.LeadingZeros8(d))
		}
	}
	return n
}

//go:build linux

package rtnl

import (
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/netdev"
)

// lookup is a request for the route of a packet.
type lookup struct {
	family   uint8
	dst, src netip.Addr // src invalid or unspecified: to be chosen
	oif      int        // the device's index; 0: any
	flags    uint32     // RTM_F_*
	tos      uint8
	mark     uint32
	uid      uint32
}

// lookupAttrs are those that a strictly checked lookup may have.
var lookupAttrs = []uint16{
	unix.RTA_IIF, unix.RTA_OIF, unix.RTA_SRC, unix.RTA_DST, unix.RTA_IP_PROTO,
	unix.RTA_SPORT, unix.RTA_DPORT, unix.RTA_MARK, unix.RTA_UID,
}

// parseLookup reads a request for one route, as inet_rtm_valid_getroute_req and
// inet6_rtm_valid_getroute_req do. It refuses lookups for packets that a device receives.
func (s *Socket) parseLookup(r request, p *policy) (l lookup, errno syscall.Errno) {
	b := r.body
	if len(b) < unix.SizeofRtMsg {
		return l, syscall.EINVAL
	}
	strict := s.option[unix.NETLINK_GET_STRICT_CHK]
	l = lookup{family: b[0], flags: native32(b[8:]), tos: b[3]}
	size, icmp, flags := 4, uint8(unix.IPPROTO_ICMP), uint32(unix.RTM_F_NOTIFY|unix.RTM_F_LOOKUP_TABLE|unix.RTM_F_FIB_MATCH)
	if l.family == unix.AF_INET6 {
		size, icmp, flags = 16, unix.IPPROTO_ICMPV6, unix.RTM_F_FIB_MATCH
	}
	if strict {
		whole := uint8(8 * size)
		switch {
		case b[1] != 0 && b[1] != whole, b[2] != 0 && b[2] != whole, b[4] != 0, b[5] != 0, b[6] != 0, b[7] != 0,
			l.flags&^flags != 0:
			return l, syscall.EINVAL
		}
	}
	found, errno := p.parse(b[unix.SizeofRtMsg:], strict, lookupAttrs...)
	if errno != 0 {
		return l, errno
	}
	dst, hasDst := found[unix.RTA_DST]
	src, hasSrc := found[unix.RTA_SRC]
	if strict && (hasDst && b[1] == 0 || hasSrc && b[2] == 0) {
		return l, syscall.EINVAL
	}
	l.dst, l.src = addrOf(dst, size), addrOf(src, size)
	l.uid = s.user()
	for typ, v := range map[uint16]*uint32{unix.RTA_MARK: &l.mark, unix.RTA_UID: &l.uid} {
		if val, ok := found[typ]; ok {
			*v = native32(val)
		}
	}
	if v, ok := found[unix.RTA_OIF]; ok {
		l.oif = int(int32(native32(v)))
	}
	if v, ok := found[unix.RTA_IP_PROTO]; ok && v[0] != unix.IPPROTO_TCP && v[0] != unix.IPPROTO_UDP && v[0] != icmp {
		return l, syscall.EOPNOTSUPP
	}
	if v, ok := found[unix.RTA_IIF]; ok && native32(v) != 0 {
		return l, syscall.EOPNOTSUPP
	}
	return l, 0
}

// addrOf is the address of size bytes at the start of b, or the unspecified one.
func addrOf(b []byte, size int) netip.Addr {
	if len(b) < size {
		b = make([]byte, size)
	}
	ip, _ := netip.AddrFromSlice(b[:size])
	return ip
}

// found is the result of a lookup: struct rtable and struct fib_result.
type found struct {
	route *netdev.Route // nil: the packet leaves by dev without a route
	dev   *rxring.Device
	typ   uint8 // RTN_*
	flags uint32
	src   netip.Addr
}

// linux/in_route.h
const (
	rtcfLocal     = 0x80000000
	rtcfMulticast = 0x20000000
	rtcfBroadcast = 0x10000000
	rtcfNotify    = 0x00010000
)

// getRoute4 serves RTM_GETROUTE for the route to one IPv4 address, as
// inet_rtm_getroute does (net/ipv4/route.c).
func (s *Socket) getRoute4(r request) syscall.Errno {
	l, errno := s.parseLookup(r, &routePolicy)
	if errno != 0 {
		return errno
	}
	asked := l
	f, errno := s.bus.output4(&l)
	if errno != 0 {
		return errno
	}
	table := uint32(unix.RT_TABLE_MAIN) // where Linux keeps all routes until rules are added
	if l.flags&unix.RTM_F_LOOKUP_TABLE != 0 && f.route == nil {
		table = unix.RT_TABLE_UNSPEC
	}
	h := header{typ: unix.RTM_NEWROUTE, seq: r.seq, port: s.port}
	if l.flags&unix.RTM_F_FIB_MATCH != 0 {
		if f.route == nil {
			return syscall.EHOSTUNREACH
		}
		match := *f.route
		match.Table, match.Type = unix.RT_TABLE_MAIN, f.typ
		s.reply(routeMessage(match, h))
		return 0
	}
	m := routeHeader{family: unix.AF_INET, dstLen: 32, table: uint8(table), typ: f.typ, flags: f.flags | unix.RTM_F_CLONED}
	if l.flags&unix.RTM_F_NOTIFY != 0 {
		m.flags |= unix.RTM_F_NOTIFY | rtcfNotify
	}
	var a attrs
	a.uint32(unix.RTA_TABLE, table)
	a.bytes(unix.RTA_DST, asked.dst.AsSlice())
	if !asked.src.IsUnspecified() {
		m.srcLen = 32
		a.bytes(unix.RTA_SRC, asked.src.AsSlice())
	}
	a.uint32(unix.RTA_OIF, uint32(f.dev.Index()))
	if f.src != asked.src {
		a.bytes(unix.RTA_PREFSRC, f.src.AsSlice())
	}
	if l.mark != 0 {
		a.uint32(unix.RTA_MARK, l.mark)
	}
	a.uint32(unix.RTA_UID, l.uid)
	a.bytes(unix.RTA_CACHEINFO, make([]byte, sizeofCacheinfo))
	msg := m.bytes()
	msg[3] = l.tos
	s.reply(message(h, msg, a))
	return 0
}

// lbcast4 is INADDR_BROADCAST, the limited broadcast address.
var lbcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// output4 finds the route of a packet that this host would send, and its source address:
// ip_route_output_key_hash_rcu (net/ipv4/route.c).
func (b *Bus) output4(l *lookup) (f found, errno syscall.Errno) {
	devices := netdev.All(b.ns)
	if !l.src.IsUnspecified() {
		if l.src.IsMulticast() || l.src == lbcast4 {
			return f, syscall.EINVAL
		}
		from := owner4(devices, l.src)
		if from == nil {
			return f, syscall.ENETUNREACH
		}
		if l.oif == 0 && (l.dst.IsMulticast() || l.dst == lbcast4) {
			return b.make4(l, found{dev: from, typ: unix.RTN_UNICAST, src: l.src}, 0)
		}
	}
	var out *rxring.Device
	src := l.src
	choose := func(scope uint8) {
		if src.IsUnspecified() {
			src = sourceOn(devices, out, scope)
		}
	}
	if l.oif != 0 {
		d, ok := b.ns.DeviceByIndex(l.oif)
		switch {
		case !ok:
			return f, syscall.ENODEV
		case !d.Up():
			return f, syscall.ENETUNREACH
		}
		out = d
		switch {
		case l.dst.IsLinkLocalMulticast(), l.dst == lbcast4:
			choose(unix.RT_SCOPE_LINK)
			return b.make4(l, found{dev: out, typ: unix.RTN_UNICAST, src: src}, l.oif)
		case l.dst.IsMulticast():
			choose(unix.RT_SCOPE_UNIVERSE)
		case l.dst.IsUnspecified():
			choose(unix.RT_SCOPE_HOST)
		}
	}
	lo, hasLo := b.ns.DeviceByName("lo")
	if l.dst.IsUnspecified() {
		if src.IsUnspecified() {
			src = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		l.dst = src
		if !hasLo {
			return f, syscall.ENETUNREACH
		}
		return b.make4(l, found{dev: lo, typ: unix.RTN_LOCAL, flags: rtcfLocal, src: src}, l.oif)
	}
	route := longest4(netdev.Routes4(devices), l.dst, l.oif)
	switch {
	case route == nil && out == nil:
		return f, syscall.ENETUNREACH
	case route == nil: // the destination may be on the link
		choose(unix.RT_SCOPE_LINK)
		return b.make4(l, found{dev: out, typ: unix.RTN_UNICAST, src: src}, l.oif)
	}
	if src.IsUnspecified() {
		src = route.Src
	}
	if route.Type == unix.RTN_LOCAL {
		if !hasLo {
			return f, syscall.ENETUNREACH
		}
		return b.make4(l, found{route: route, dev: lo, typ: route.Type, flags: rtcfLocal, src: src}, l.oif)
	}
	return b.make4(l, found{route: route, dev: route.Device, typ: route.Type, src: src}, l.oif)
}

// make4 is __mkroute_output (net/ipv4/route.c).
func (b *Bus) make4(l *lookup, f found, oif int) (found, syscall.Errno) {
	loopback := f.dev.Type() == rxring.Loopback
	if f.src.IsLoopback() && !loopback {
		return f, syscall.EINVAL
	}
	switch {
	case l.dst == lbcast4:
		f.typ, f.route = unix.RTN_BROADCAST, nil
	case l.dst.IsMulticast():
		f.typ = unix.RTN_MULTICAST
	case l.dst.IsUnspecified():
		return f, syscall.EINVAL
	}
	if loopback {
		f.flags |= rtcfLocal
	}
	switch f.typ {
	case unix.RTN_BROADCAST:
		f.flags |= rtcfBroadcast | rtcfLocal
	case unix.RTN_MULTICAST:
		f.flags |= rtcfMulticast
		f.flags &^= rtcfLocal
		if allHosts := netip.AddrFrom4([4]byte{224, 0, 0, 1}); l.dst == allHosts { // the one group of every device
			f.flags |= rtcfLocal
		}
	}
	return f, 0
}

// longest4 is the route to ip with the longest prefix, on the device of that index; 0:
// any. Of equal prefixes it is the local table's, because Linux keeps both tables in one
// until rules are added.
func longest4(routes []netdev.Route, ip netip.Addr, index int) (best *netdev.Route) {
	for i := range routes {
		r := &routes[i]
		if !r.Dst.Contains(ip) || index != 0 && index != r.Device.Index() {
			continue
		}
		if best == nil || r.Dst.Bits() > best.Dst.Bits() || r.Dst.Bits() == best.Dst.Bits() && r.Table > best.Table {
			best = r
		}
	}
	return best
}

// owner4 is the device that has the address ip, or one in ip's network if that is a
// loopback device's; nil: none. It is __ip_dev_find (net/ipv4/devinet.c).
func owner4(devices []*rxring.Device, ip netip.Addr) *rxring.Device {
	for _, d := range devices {
		for _, a := range netdev.Addresses(d, true) {
			if a.Addr() == ip {
				return d
			}
		}
	}
	local := slices.DeleteFunc(netdev.Routes4(devices), func(r netdev.Route) bool { return r.Table != unix.RT_TABLE_LOCAL })
	if r := longest4(local, ip, 0); r != nil && r.Type == unix.RTN_LOCAL {
		return r.Device
	}
	return nil
}

// sourceOn is the source address of packets that leave by d, of at most that scope, or
// else another device's: inet_select_addr (net/ipv4/devinet.c).
func sourceOn(devices []*rxring.Device, d *rxring.Device, scope uint8) netip.Addr {
	for _, a := range netdev.Addresses(d, true) {
		if !a.Secondary && min(a.Scope, unix.RT_SCOPE_HOST) <= scope {
			return a.Addr()
		}
	}
	for _, d := range devices {
		for _, a := range netdev.Addresses(d, true) {
			if !a.Secondary && a.Scope != unix.RT_SCOPE_LINK && a.Scope <= scope {
				return a.Addr()
			}
		}
	}
	return netip.IPv4Unspecified()
}

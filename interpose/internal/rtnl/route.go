//go:build linux

package rtnl

import (
	"encoding/binary"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/netdev"
)

// linux/rtnetlink.h
const (
	rtaNHID         = 30 // RTA_NH_ID
	rtaMax          = 31 // RTA_FLOWLABEL, the last one
	sizeofCacheinfo = 32 // struct rta_cacheinfo
)

// routePolicy has lengths of rtm_ipv4_policy (net/ipv4/fib_frontend.c), which Linux
// checks requests for lists by, whatever their family.
var routePolicy = policy{rtaMax, map[uint16]length{
	unix.RTA_DST: {least: 4}, unix.RTA_SRC: {least: 4}, unix.RTA_IIF: {least: 4}, unix.RTA_OIF: {least: 4},
	unix.RTA_GATEWAY: {least: 4}, unix.RTA_PRIORITY: {least: 4}, unix.RTA_PREFSRC: {least: 4},
	unix.RTA_MULTIPATH: {least: unix.SizeofRtNexthop}, unix.RTA_FLOW: {least: 4}, unix.RTA_ENCAP_TYPE: {least: 2},
	unix.RTA_UID: {least: 4}, unix.RTA_MARK: {least: 4}, unix.RTA_TABLE: {least: 4},
	unix.RTA_IP_PROTO: {least: 1}, unix.RTA_SPORT: {least: 2}, unix.RTA_DPORT: {least: 2}, rtaNHID: {least: 4},
}}

// routeFilter narrows a request for all routes (struct fib_dump_filter).
type routeFilter struct {
	flags    uint32 // RTM_F_PREFIX, RTM_F_CLONED
	table    uint32 // this and the following: 0 for all
	protocol uint8
	typ      uint8
	index    int // of the device
}

func (f routeFilter) narrows() bool { return f != routeFilter{} }

func (f routeFilter) wants(r netdev.Route) bool {
	switch {
	case f.flags&(unix.RTM_F_PREFIX|unix.RTM_F_CLONED) != 0: // routes of router advertisements, exceptions: none
		return false
	case f.table != 0 && f.table != uint32(r.Table), f.protocol != 0 && f.protocol != unix.RTPROT_KERNEL:
		return false
	}
	return (f.typ == 0 || f.typ == r.Type) && (f.index == 0 || f.index == r.Device.Index())
}

// Families of multicast routes, of which there are none (linux/rtnetlink.h).
const (
	familyIPMR  = 128 // RTNL_FAMILY_IPMR
	familyIP6MR = 129 // RTNL_FAMILY_IP6MR
)

// routeTables are the tables that a family has before rules are added.
var routeTables = map[uint8][]uint32{
	unix.AF_INET:  {unix.RT_TABLE_MAIN, unix.RT_TABLE_LOCAL},
	unix.AF_INET6: {unix.RT_TABLE_MAIN, unix.RT_TABLE_LOCAL},
	familyIPMR:    {unix.RT_TABLE_DEFAULT},
	familyIP6MR:   {unix.RT_TABLE_MAIN},
}

// dumpRoutes makes the list that RTM_GETROUTE asks for, as inet_dump_fib does
// (net/ipv4/fib_frontend.c), then as inet6_dump_fib does (net/ipv6/ip6_fib.c).
func (s *Socket) dumpRoutes(d *dump, r request) {
	d.typ = unix.RTM_NEWROUTE
	family := r.body[0]
	var f routeFilter
	if s.option[unix.NETLINK_GET_STRICT_CHK] {
		if f, d.errno = s.strictRoutes(r.body); d.errno != 0 {
			return
		}
		d.flags |= unix.NLM_F_DUMP_FILTERED
		if f.narrows() {
			d.doneFlags = d.flags
		}
	} else if len(r.body) >= unix.SizeofRtMsg {
		f.flags = native32(r.body[8:]) & unix.RTM_F_PREFIX
	}
	if tables, ok := routeTables[family]; ok && f.table != 0 && !slices.Contains(tables, f.table) &&
		(family != unix.AF_INET || f.flags&unix.RTM_F_PREFIX == 0) {
		d.errno = syscall.ENOENT
	}
	devices := netdev.All(s.bus.ns)
	var routes []netdev.Route
	if family != unix.AF_INET6 && family != familyIPMR && family != familyIP6MR {
		routes = netdev.Routes4(devices)
	}
	if family != unix.AF_INET && family != familyIPMR && family != familyIP6MR {
		routes = append(routes, netdev.Routes6(devices)...)
	}
	for _, route := range routes {
		if f.wants(route) {
			d.items = append(d.items, func(h header) []byte { return routeMessage(route, h) })
		}
	}
}

// strictRoutes is ip_valid_fib_dump_req (net/ipv4/fib_frontend.c).
func (s *Socket) strictRoutes(b []byte) (f routeFilter, errno syscall.Errno) {
	if len(b) < unix.SizeofRtMsg || b[1] != 0 || b[2] != 0 || b[3] != 0 || b[6] != 0 {
		return f, syscall.EINVAL
	}
	f = routeFilter{flags: native32(b[8:]), table: uint32(b[4]), protocol: b[5], typ: b[7]}
	if f.flags&^(unix.RTM_F_CLONED|unix.RTM_F_PREFIX) != 0 {
		return f, syscall.EINVAL
	}
	found, errno := routePolicy.parse(b[unix.SizeofRtMsg:], true, unix.RTA_TABLE, unix.RTA_OIF)
	if errno != 0 {
		return f, errno
	}
	if v, ok := found[unix.RTA_OIF]; ok {
		f.index = int(int32(native32(v)))
		if _, ok := s.bus.ns.DeviceByIndex(f.index); !ok {
			return f, syscall.ENODEV
		}
	}
	if v, ok := found[unix.RTA_TABLE]; ok {
		f.table = native32(v)
	}
	return f, 0
}

// routeHeader is a struct rtmsg (linux/rtnetlink.h).
type routeHeader struct {
	family, dstLen, srcLen, table, protocol, scope, typ uint8
	flags                                               uint32
}

func (m routeHeader) bytes() []byte {
	b := []byte{m.family, m.dstLen, m.srcLen, 0, m.table, m.protocol, m.scope, m.typ}
	return binary.NativeEndian.AppendUint32(b, m.flags)
}

// routeMessage lays out a route as fib_dump_info (net/ipv4/fib_semantics.c) and
// rt6_fill_node (net/ipv6/route.c) do.
func routeMessage(r netdev.Route, h header) []byte {
	m := routeHeader{family: unix.AF_INET6, dstLen: uint8(r.Dst.Bits()), table: r.Table, protocol: unix.RTPROT_KERNEL, scope: r.Scope, typ: r.Type}
	var a attrs
	a.uint32(unix.RTA_TABLE, uint32(r.Table))
	if r.Dst.Addr().Is4() {
		m.family = unix.AF_INET
		if r.Dst.Bits() > 0 {
			a.bytes(unix.RTA_DST, r.Dst.Addr().AsSlice())
		}
		a.bytes(unix.RTA_PREFSRC, r.Src.AsSlice())
		a.uint32(unix.RTA_OIF, uint32(r.Device.Index()))
		return message(h, m.bytes(), a)
	}
	if r.Dst.Bits() > 0 {
		a.bytes(unix.RTA_DST, r.Dst.Addr().AsSlice())
	}
	a.uint32(unix.RTA_PRIORITY, r.Metric)
	a.uint32(unix.RTA_OIF, uint32(r.Device.Index()))
	a.bytes(unix.RTA_CACHEINFO, make([]byte, sizeofCacheinfo))
	a.uint8(unix.RTA_PREF, 0) // ICMPV6_ROUTER_PREF_MEDIUM
	return message(h, m.bytes(), a)
}

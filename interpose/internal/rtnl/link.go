//go:build linux

package rtnl

import (
	"bytes"
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/netdev"
)

// Attributes of links that x/sys does not name (linux/if_link.h).
const (
	iflaMaxPacingOffloadHorizon = 66 // IFLA_MAX_PACING_OFFLOAD_HORIZON
	iflaNetnsImmutable          = 67 // IFLA_NETNS_IMMUTABLE
	iflaHeadroom                = 68 // IFLA_HEADROOM
	iflaTailroom                = 69 // IFLA_TAILROOM
)

// linkPolicy has lengths of ifla_policy (net/core/rtnetlink.c), of the
// attributes that requests for links have.
var linkPolicy = policy{iflaTailroom, map[uint16]length{
	unix.IFLA_TARGET_NETNSID: {least: 4},
	unix.IFLA_EXT_MASK:       {least: 4},
	unix.IFLA_MASTER:         {least: 4},
	unix.IFLA_IFNAME:         {least: 1, text: unix.IFNAMSIZ - 1},
	unix.IFLA_ALT_IFNAME:     {least: 1, text: 127}, // ALTIFNAMSIZ - 1
}}

// getLink serves RTM_GETLINK for one device, as rtnl_getlink does.
func (s *Socket) getLink(r request) syscall.Errno {
	if len(r.body) < unix.SizeofIfInfomsg {
		return syscall.EINVAL
	}
	strict := s.option[unix.NETLINK_GET_STRICT_CHK]
	if strict && !onlyIndex(r.body) {
		return syscall.EINVAL
	}
	found, errno := linkPolicy.parse(r.body[unix.SizeofIfInfomsg:], strict,
		unix.IFLA_TARGET_NETNSID, unix.IFLA_EXT_MASK, unix.IFLA_IFNAME, unix.IFLA_ALT_IFNAME)
	if errno != 0 {
		return errno
	}
	if found[unix.IFLA_TARGET_NETNSID] != nil {
		return syscall.EINVAL // there is no other namespace
	}
	index := int32(native32(r.body[4:]))
	name, ok := found[unix.IFLA_IFNAME]
	if !ok {
		name, ok = found[unix.IFLA_ALT_IFNAME]
	}
	var d *rxring.Device
	switch {
	case index > 0:
		d, ok = s.bus.ns.DeviceByIndex(int(index))
	case ok:
		name, _, _ = bytes.Cut(name, []byte{0})
		d, ok = s.bus.ns.DeviceByName(string(name))
	default:
		return syscall.EINVAL
	}
	if !ok {
		return syscall.ENODEV
	}
	s.reply(s.bus.linkMessage(d, header{typ: unix.RTM_NEWLINK, seq: r.seq, port: s.port}))
	return 0
}

// dumpLinks makes the list that RTM_GETLINK asks for, as rtnl_dump_ifinfo does.
func (s *Socket) dumpLinks(d *dump, r request) {
	d.typ = unix.RTM_NEWLINK
	if family := r.body[0]; family == unix.AF_INET6 || family == unix.AF_BRIDGE {
		return // no links with settings of IPv6, no ports of bridges
	}
	found, errno := s.linkFilter(r.body)
	if found[unix.IFLA_TARGET_NETNSID] != nil {
		errno = syscall.EINVAL // there is no other namespace
	}
	if d.errno = errno; errno != 0 {
		return
	}
	if master, ok := found[unix.IFLA_MASTER]; ok && native32(master) != 0 {
		d.flags |= unix.NLM_F_DUMP_FILTERED
		if int32(native32(master)) != -1 { // -1: links without a master
			return
		}
	}
	kinds := false // only devices of a kind are wanted
	for typ, kind := range each(found[unix.IFLA_LINKINFO]) {
		if typ == unix.IFLA_INFO_KIND {
			d.flags |= unix.NLM_F_DUMP_FILTERED
			if kind, _, _ = bytes.Cut(kind, []byte{0}); string(kind) != netdev.Kind {
				return
			}
			kinds = true
		}
	}
	for _, dev := range netdev.All(s.bus.ns) {
		if kinds && dev.Type() == rxring.Loopback {
			continue
		}
		d.items = append(d.items, func(h header) []byte { return s.bus.linkMessage(dev, h) })
	}
}

// linkFilter reads what a request for all links is narrowed by. Where the
// program did not ask for strict checking, a wrong request is one for all.
func (s *Socket) linkFilter(b []byte) (map[uint16][]byte, syscall.Errno) {
	strict := s.option[unix.NETLINK_GET_STRICT_CHK]
	switch {
	case len(b) < unix.SizeofIfInfomsg && !strict: // struct rtgenmsg, of old programs
		return nil, 0
	case len(b) < unix.SizeofIfInfomsg, strict && (!onlyIndex(b) || native32(b[4:]) != 0):
		return nil, syscall.EINVAL
	}
	found, errno := linkPolicy.parse(b[unix.SizeofIfInfomsg:], strict,
		unix.IFLA_TARGET_NETNSID, unix.IFLA_EXT_MASK, unix.IFLA_MASTER, unix.IFLA_LINKINFO)
	if errno != 0 && !strict {
		return nil, 0
	}
	return found, errno
}

// onlyIndex says whether a struct ifinfomsg has nothing but a family and an
// index.
func onlyIndex(b []byte) bool {
	return b[1] == 0 && binary.NativeEndian.Uint16(b[2:]) == 0 &&
		native32(b[8:]) == 0 && native32(b[12:]) == 0
}

// linkMessage lays out a device's struct ifinfomsg and attributes, in the order
// of rtnl_fill_ifinfo (net/core/rtnetlink.c).
func (b *Bus) linkMessage(d *rxring.Device, h header) []byte {
	const (
		operUnknown  = 0 // IF_OPER_UNKNOWN: a TAP device does not say
		operDown     = 2 // IF_OPER_DOWN
		maxSegs      = 65535
		maxTSO       = 524280 // TSO_MAX_SIZE: a loopback device's
		notAttached  = 0      // XDP_ATTACHED_NONE
		sizeIfmap    = 32     // struct rtnl_link_ifmap
		defaultQdisc = "pfifo_fast"
		noQdisc      = "noqueue"
	)
	maxSize := netdev.GSOMaxSize(d)
	tsoSize, qdisc, immutable := maxSize, defaultQdisc, uint8(0)
	if d.Type() == rxring.Loopback {
		tsoSize, qdisc, immutable = maxTSO, noQdisc, 1
	}
	info := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint16(info[2:], uint16(d.Type()))
	binary.NativeEndian.PutUint32(info[4:], uint32(d.Index()))
	binary.NativeEndian.PutUint32(info[8:], b.flags(d))

	var a attrs
	a.string(unix.IFLA_IFNAME, d.Name())
	a.uint32(unix.IFLA_TXQLEN, netdev.TxQueueLen(d))
	if d.Up() {
		a.uint8(unix.IFLA_OPERSTATE, operUnknown)
	} else {
		a.uint8(unix.IFLA_OPERSTATE, operDown)
	}
	a.uint8(unix.IFLA_LINKMODE, 0)
	a.uint8(iflaNetnsImmutable, immutable)
	a.uint32(unix.IFLA_MTU, uint32(d.MTU()))
	least, most := netdev.MTUs(d)
	a.uint32(unix.IFLA_MIN_MTU, least)
	a.uint32(unix.IFLA_MAX_MTU, most)
	a.uint32(unix.IFLA_GROUP, 0)
	promiscuous, allMulticast := d.Memberships()
	a.uint32(unix.IFLA_PROMISCUITY, uint32(promiscuous))
	a.uint32(unix.IFLA_ALLMULTI, uint32(allMulticast))
	a.uint32(unix.IFLA_NUM_TX_QUEUES, 1)
	a.uint32(unix.IFLA_GSO_MAX_SEGS, maxSegs)
	a.uint32(unix.IFLA_GSO_MAX_SIZE, maxSize)
	a.uint32(unix.IFLA_GRO_MAX_SIZE, maxSize)
	a.uint32(unix.IFLA_GSO_IPV4_MAX_SIZE, netdev.LegacyGSOMaxSize)
	a.uint32(unix.IFLA_GRO_IPV4_MAX_SIZE, netdev.LegacyGSOMaxSize)
	a.uint32(unix.IFLA_TSO_MAX_SIZE, tsoSize)
	a.uint32(unix.IFLA_TSO_MAX_SEGS, maxSegs)
	a.uint32(iflaMaxPacingOffloadHorizon, 0)
	a.uint32(unix.IFLA_NUM_RX_QUEUES, 1)
	a.uint8(unix.IFLA_CARRIER, 1)
	if alias := d.Alias(); alias != "" {
		a.string(unix.IFLA_IFALIAS, alias)
	}
	a.uint32(unix.IFLA_CARRIER_CHANGES, 0)
	a.uint32(unix.IFLA_CARRIER_UP_COUNT, 0)
	a.uint32(unix.IFLA_CARRIER_DOWN_COUNT, 0)
	a.uint16(iflaHeadroom, 0)
	a.uint16(iflaTailroom, 0)
	a.uint8(unix.IFLA_PROTO_DOWN, 0)
	switch addr := d.HardwareAddr(); d.Type() {
	case rxring.Ethernet:
		a.bytes(unix.IFLA_ADDRESS, addr[:])
		a.bytes(unix.IFLA_BROADCAST, bytes.Repeat([]byte{0xff}, len(addr)))
	case rxring.Loopback:
		a.bytes(unix.IFLA_ADDRESS, addr[:])
		a.bytes(unix.IFLA_BROADCAST, make([]byte, len(addr)))
	}
	stats, stats64 := counters(d)
	a.bytes(unix.IFLA_STATS64, stats64)
	a.bytes(unix.IFLA_STATS, stats)
	var xdp attrs
	xdp.uint8(unix.IFLA_XDP_ATTACHED, notAttached)
	a.bytes(unix.IFLA_XDP, xdp)
	if d.Type() != rxring.Loopback {
		a.bytes(unix.IFLA_LINKINFO, linkInfo(d))
	}
	a.string(unix.IFLA_QDISC, qdisc)
	a.bytes(unix.IFLA_MAP, make([]byte, sizeIfmap))
	a.bytes(unix.IFLA_DEVLINK_PORT|unix.NLA_F_NESTED, nil)
	a.bytes(unix.IFLA_DPLL_PIN|unix.NLA_F_NESTED, nil)
	return message(h, info, a)
}

// counters lays out a device's struct rtnl_link_stats and struct rtnl_link_stats64. Both
// begin with the packets that came in and that left, then their bytes; the rest is zero.
func counters(d *rxring.Device) (stats, stats64 []byte) {
	const fields, fields64 = 24, 25 // the latter with rx_otherhost_dropped
	in, out := d.Traffic()
	for _, n := range []uint64{in.Packets, out.Packets, in.Bytes, out.Bytes} {
		stats = binary.NativeEndian.AppendUint32(stats, uint32(n))
		stats64 = binary.NativeEndian.AppendUint64(stats64, n)
	}
	return append(stats, make([]byte, 4*fields-len(stats))...), append(stats64, make([]byte, 8*fields64-len(stats64))...)
}

// linkInfo is what tun_fill_info (drivers/net/tun.c) says of a device without
// an owner, with offloads.
func linkInfo(d *rxring.Device) attrs {
	const (
		tunType, tunPI, tunVnetHdr, tunPersist, tunMultiQueue = 3, 4, 5, 6, 7 // IFLA_TUN_*

		kindTUN, kindTAP = 1, 2 // IFF_TUN, IFF_TAP (linux/if_tun.h)
	)
	typ := uint8(kindTUN)
	if d.Type() == rxring.Ethernet {
		typ = kindTAP
	}
	var data, info attrs
	data.uint8(tunType, typ)
	data.uint8(tunPI, 0)
	data.uint8(tunVnetHdr, 1)
	data.uint8(tunPersist, 0)
	data.uint8(tunMultiQueue, 0)
	info.string(unix.IFLA_INFO_KIND, netdev.Kind)
	info.bytes(unix.IFLA_INFO_DATA, data)
	return info
}

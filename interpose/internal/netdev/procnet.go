//go:build linux

package netdev

import (
	"encoding/binary"
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// ProcNetFile makes the contents of a file of /proc/net for devices.
type ProcNetFile func([]*rxring.Device) []byte

// ProcNet has the files of /proc/net that list devices, or what belongs to them.
var ProcNet = map[string]ProcNetFile{
	"dev":        procDev,
	"if_inet6":   procInet6,
	"route":      procRoute,
	"arp":        procARP,
	"ipv6_route": procRoute6,
}

// procDev is /proc/net/dev (net/core/net-procfs.c).
func procDev(devices []*rxring.Device) []byte {
	b := []byte("Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n")
	for _, d := range devices {
		in, out := d.Traffic()
		b = fmt.Appendf(b, "%6s: %7d %7d %4d %4d %4d %5d %10d %9d %8d %7d %4d %4d %4d %5d %7d %10d\n",
			d.Name(), in.Bytes, in.Packets, 0, 0, 0, 0, 0, 0, out.Bytes, out.Packets, 0, 0, 0, 0, 0, 0)
	}
	return b
}

// procInet6 is /proc/net/if_inet6 (net/ipv6/addrconf.c).
func procInet6(devices []*rxring.Device) (b []byte) {
	for _, d := range devices {
		for _, a := range Addresses(d, false) {
			ip := a.Addr().As16()
			b = fmt.Appendf(b, "%x %02x %02x %02x %02x %8s\n", ip, d.Index(), a.Bits(), inet6Scope(a.Scope), unix.IFA_F_PERMANENT, d.Name())
		}
	}
	return b
}

// inet6Scope is IPV6_ADDR_SCOPE_MASK's part of an address' type (net/ipv6.h).
func inet6Scope(scope uint8) int {
	const loopback, linkLocal = 0x10, 0x20 // IPV6_ADDR_LOOPBACK, IPV6_ADDR_LINKLOCAL
	switch scope {
	case unix.RT_SCOPE_HOST:
		return loopback
	case unix.RT_SCOPE_LINK:
		return linkLocal
	}
	return 0
}

// procRoute is /proc/net/route (fib_route_seq_show in net/ipv4/fib_trie.c): the routes
// of the main table.
func procRoute(devices []*rxring.Device) []byte {
	const head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
	line := func(text string) string { return fmt.Sprintf("%-127s\n", text) }
	b := []byte(line(head))
	for _, r := range Routes4(devices) {
		if r.Table != unix.RT_TABLE_MAIN {
			continue
		}
		to, mask := r.Dst.Addr().As4(), ^uint32(0)<<(32-r.Dst.Bits())
		b = append(b, line(fmt.Sprintf("%s\t%08X\t%08X\t%04X\t%d\t%d\t%d\t%08X\t%d\t%d\t%d", r.Device.Name(),
			binary.NativeEndian.Uint32(to[:]), 0, unix.RTF_UP, 0, 0, 0,
			binary.NativeEndian.Uint32(binary.BigEndian.AppendUint32(nil, mask)), 0, 0, 0))...)
	}
	return b
}

// procRoute6 is /proc/net/ipv6_route (ipv6_route_native_seq_show in
// net/ipv6/ip6_fib.c). Each table ends with a reject route.
func procRoute6(devices []*rxring.Device) (b []byte) {
	const (
		up, noNextHop, local, reject = 0x1, 0x200000, 0x80000000, 0x200 // RTF_* (linux/ipv6_route.h)
		none                         = "00000000000000000000000000000000"
	)
	routes := Routes6(devices)
	for _, table := range []uint8{unix.RT_TABLE_MAIN, unix.RT_TABLE_LOCAL} {
		for _, r := range routes {
			if r.Table != table {
				continue
			}
			flags := uint32(up)
			if r.Type == unix.RTN_LOCAL {
				flags |= local | noNextHop
			}
			b = fmt.Appendf(b, "%x %02x %s 00 %s %08x %08x %08x %08x %8s\n", r.Dst.Addr().As16(), r.Dst.Bits(), none, none, r.Metric, 1, 0, flags, r.Device.Name())
		}
		b = fmt.Appendf(b, "%s 00 %s 00 %s %08x %08x %08x %08x %8s\n", none, none, none, uint32(math.MaxUint32), 1, 0, noNextHop|reject, "lo")
	}
	return b
}

// procARP is /proc/net/arp (net/ipv4/arp.c): there are no neighbours.
func procARP([]*rxring.Device) []byte {
	return []byte("IP address       HW type     Flags       HW address            Mask     Device\n")
}

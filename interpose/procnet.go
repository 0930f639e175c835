//go:build linux && (amd64 || arm64)

package interpose

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/netdev"
)

// Programs that are older than rtnetlink, or written by hand, find devices in
// files of /proc/net. Opened to be read, these are ours; the program gets a
// memory file with what the kernel's would have in it.

// openRules traps opening a file to read it. The path is memory, which a filter
// does not see: all files are asked about, and nearly all are not for us.
func openRules() []rule {
	const kind = unix.O_ACCMODE | unix.O_CREAT | unix.O_DIRECTORY | unix.O_PATH
	rs := []rule{{nr: unix.SYS_OPENAT, all: []condition{{2, kind, []uint32{unix.O_RDONLY}}}}}
	for _, nr := range archOpens {
		rs = append(rs, rule{nr: nr, all: []condition{{1, kind, []uint32{unix.O_RDONLY}}}})
	}
	return rs
}

func opens(nr int32) bool {
	return nr == unix.SYS_OPENAT || slices.Contains(archOpens, uint32(nr))
}

// procNet is the files that are ours, by name.
var procNet = map[string]func([]*rxring.Device) []byte{
	"dev":        procDev,
	"if_inet6":   procInet6,
	"route":      procRoute,
	"arp":        procARP,
	"ipv6_route": procRoute6,
}

// longestPath is of a path that may be ours, with its NUL.
const longestPath = max(len("/proc/self/net/ipv6_route\x00"), longestSysPath)

// open serves open and openat.
func (c *call) open() reply {
	path, flags := c.Args[0], c.int(1)
	if c.NR == unix.SYS_OPENAT {
		path, flags = c.Args[1], c.int(2)
	}
	var b [longestPath]byte
	content, there, ok := c.s.file(b[:c.readPrefix(path, b[:])])
	switch {
	case !ok || !c.valid():
		return reply{}
	case !there:
		return reply{kind: value, err: unix.ENOENT}
	}
	fd, err := memoryFile(content)
	if err != nil {
		return result(err)
	}
	defer unix.Close(fd)
	if _, err := c.s.l.inject(c.ID, fd, flags&unix.O_CLOEXEC != 0); err != nil {
		return result(err)
	}
	return reply{kind: done}
}

// file makes the file that a path, which ends with NUL, names. ok: it is ours; there: it
// exists.
func (s *session) file(path []byte) (content []byte, there, ok bool) {
	if content, ok := procFile(path); ok {
		return content(netdev.All(s.ns)), true, true
	}
	device, file, ok := sysPath(path)
	if !ok {
		return nil, false, false
	}
	if d, ok := s.ns.DeviceByName(device); ok {
		content, there = sysFile(d, s.flags(d), file)
	}
	return content, there, true
}

// procFile finds the file of ours that a path, which ends with NUL, names.
func procFile(path []byte) (func([]*rxring.Device) []byte, bool) {
	path, _, whole := bytes.Cut(path, []byte{0})
	if !whole {
		return nil, false
	}
	name, ok := bytes.CutPrefix(path, []byte("/proc/net/"))
	if !ok {
		name, ok = bytes.CutPrefix(path, []byte("/proc/self/net/"))
	}
	if !ok {
		return nil, false
	}
	content, ok := procNet[string(name)]
	return content, ok
}

// memoryFile is a descriptor to read b by.
func memoryFile(b []byte) (int, error) {
	fd, err := unix.MemfdCreate("rxring-proc", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, err
	}
	f := os.NewFile(uintptr(fd), "rxring-proc")
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return -1, err
	}
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
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
		for _, a := range netdev.Addresses(d, false) {
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
	for _, r := range netdev.Routes4(devices) {
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
// net/ipv6/ip6_fib.c). Each table ends with the route that refuses.
func procRoute6(devices []*rxring.Device) (b []byte) {
	const (
		up, noNextHop, local, reject = 0x1, 0x200000, 0x80000000, 0x200 // RTF_* (linux/ipv6_route.h)
		none                         = "00000000000000000000000000000000"
	)
	routes := netdev.Routes6(devices)
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

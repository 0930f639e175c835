//go:build linux

package rtnl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/interpose/internal/netdev"
)

// Devices that the kernel and a namespace have alike.
var alike = []rxring.DeviceConfig{
	{Name: "tap2", Alias: "web-1.example.org/eth0", HardwareAddr: [6]byte{2, 0, 0, 0, 0, 2}, Prefixes: prefixes("192.0.2.1/24", "192.0.2.77/24", "2001:db8::1/64", "198.51.100.1/32", "fe80::1/64", "2001:db8:1::1/64", "127.0.1.1/8")},
	{Name: "tun3", Type: rxring.RawIP, MTU: 1280, Prefixes: append(prefixes("203.0.113.9/31"), many(100)...)},
}

func prefixes(all ...string) (ps []netip.Prefix) {
	for _, p := range all {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}

func many(n int) (ps []netip.Prefix) {
	for i := range n {
		ps = append(ps, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), 24))
	}
	return ps
}

// compare runs fn, without privileges, in a namespace of the kernel with the
// devices alike, and with a bus that has them too. setUp sets a device up or down
// in both.
func compare(t *testing.T, fn func(t *testing.T, bus *Bus, setUp func(name string, up bool))) {
	kringtest.Run(t, func(ns *kring.Namespace) {
		kringtest.NeedDevices(t)
		ours := rxring.NewNamespace(rxring.NamespaceConfig{})
		if err := ns.Do(func() error {
			return errors.Join(
				os.WriteFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6", []byte("0"), 0),
				ip("link set lo up\n"))
		}); err != nil {
			t.Fatal(err)
		}
		for _, c := range alike {
			d, err := ours.AddDevice(c)
			if err != nil {
				t.Fatal(err)
			}
			var k *kring.Device
			if c.Type == rxring.RawIP {
				k, err = ns.TUN(c.Name, d.Index())
			} else {
				k, err = ns.TAP(c.Name, d.Index(), c.HardwareAddr)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(k.Close)
			var links, addrs strings.Builder
			fmt.Fprintf(&links, "link set %s multicast on mtu %d addrgenmode none\n", c.Name, d.MTU())
			if c.Type != rxring.RawIP {
				fmt.Fprintf(&links, "link set %s arp on\n", c.Name)
			}
			if c.Alias != "" {
				fmt.Fprintf(&links, "link set %s alias %s\n", c.Name, c.Alias)
			}
			for _, a := range c.Prefixes {
				fmt.Fprintf(&addrs, "addr add %v dev %s\n", a, c.Name)
			}
			if err := ns.Do(func() error {
				return errors.Join(
					ip(links.String()),
					os.WriteFile("/proc/sys/net/ipv6/conf/all/accept_dad", []byte("0"), 0),
					os.WriteFile("/proc/sys/net/ipv6/conf/"+c.Name+"/accept_dad", []byte("0"), 0),
					os.WriteFile("/proc/sys/net/ipv6/conf/"+c.Name+"/disable_ipv6", []byte("0"), 0),
					ip(addrs.String()))
			}); err != nil {
				need.Skip(t, need.Kernel, "no devices: %v", err)
			}
		}
		settled := func() error { // tentative addresses become addresses by and by
			for range 1000 {
				out, err := exec.Command("ip", "-6", "addr", "show", "tentative").Output()
				if err != nil || len(out) == 0 {
					return err
				}
				time.Sleep(time.Millisecond)
			}
			return errors.New("tentative IPv6 addresses stay so")
		}
		if err := ns.Do(settled); err != nil {
			t.Fatal(err)
		}
		setUp := func(name string, up bool) {
			d, ok := ours.DeviceByName(name)
			state := map[bool]string{true: "up", false: "down"}[up]
			if err := ns.Do(func() error { return ip("link set " + name + " " + state) }); err != nil || !ok {
				t.Fatalf("%s: %v, %v", name, ok, err)
			}
			d.SetUp(up)
		}
		// This thread goes there, for good: it ends with the test.
		runtime.LockOSThread()
		var there int
		if err := ns.Do(func() (err error) {
			there, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(there)
		if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
			t.Fatal(err)
		}
		if err := giveUpPrivileges(); err != nil {
			t.Fatal(err)
		}
		fn(t, NewBus(ours, netdev.Flags), setUp)
	})
}

func ip(script string) error {
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip -batch: %w: %s%s", err, out, script)
	}
	return nil
}

// giveUpPrivileges leaves the thread without capabilities.
func giveUpPrivileges() error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return unix.Capset(&h, &none[0])
}

// peer is a socket of the kernel.
type peer struct{ fd int }

func newPeer(t fataler) *peer {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return &peer{fd}
}

type fataler interface{ Fatalf(string, ...any) }

func (p *peer) call(nr uintptr, args ...uintptr) (int, error) {
	var a [5]uintptr
	copy(a[:], args)
	n, _, errno := unix.Syscall6(nr, uintptr(p.fd), a[0], a[1], a[2], a[3], a[4])
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func at(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

func (p *peer) bind(addr []byte) error {
	_, err := p.call(unix.SYS_BIND, at(addr), uintptr(len(addr)))
	return err
}

func (p *peer) name(t fataler) []byte {
	b, n := make([]byte, 100), uint32(100)
	if _, err := p.call(unix.SYS_GETSOCKNAME, at(b), uintptr(unsafe.Pointer(&n))); err != nil {
		t.Fatalf("getsockname: %v", err)
	}
	return b[:n]
}

func (p *peer) setsockopt(name int, val []byte) error {
	_, err := p.call(unix.SYS_SETSOCKOPT, unix.SOL_NETLINK, uintptr(name), at(val), uintptr(len(val)))
	return err
}

func (p *peer) getsockopt(name int, val []byte) (int, error) {
	n := uint32(len(val))
	_, err := p.call(unix.SYS_GETSOCKOPT, unix.SOL_NETLINK, uintptr(name), at(val), uintptr(unsafe.Pointer(&n)))
	return int(n), err
}

func (p *peer) send(to, b []byte) error {
	_, err := p.call(unix.SYS_SENDTO, at(b), uintptr(len(b)), 0, at(to), uintptr(len(to)))
	return err
}

// recv returns a datagram, cut to room bytes, its whole length and where it
// comes from.
func (p *peer) recv(room int, peek bool) (b []byte, whole int, from []byte, err error) {
	flags := uintptr(unix.MSG_DONTWAIT | unix.MSG_TRUNC)
	if peek {
		flags |= unix.MSG_PEEK
	}
	b, from = make([]byte, room), make([]byte, 100)
	n := uint32(len(from))
	whole, err = p.call(unix.SYS_RECVFROM, at(b), uintptr(room), flags, at(from), uintptr(unsafe.Pointer(&n)))
	if err != nil {
		return nil, 0, nil, err
	}
	return b[:min(whole, room)], whole, from[:n], nil
}

func (s *Socket) recv(room int, peek bool) (b []byte, whole int, from []byte, err error) {
	d, err := s.Front()
	if err != nil {
		return nil, 0, nil, err
	}
	s.Take(room, peek)
	return d.Data[:min(room, len(d.Data))], len(d.Data), d.From(), nil
}

// rtmsg lays out a request.
func rtmsg(typ, flags uint16, seq uint32, body ...byte) []byte {
	return message(header{typ: typ, flags: flags, seq: seq}, body)
}

// What is wanted to differ from the kernel's links and addresses: see doc.go.
var wantedDifferences = map[uint16]map[uint16]string{
	unix.RTM_NEWLINK:  {unix.IFLA_AF_SPEC: "no settings of IPv4 and IPv6", unix.IFLA_QDISC: "net.core.default_qdisc is the machine's"},
	unix.RTM_NEWADDR:  {unix.IFA_CACHEINFO: "time stamps"},
	unix.RTM_NEWROUTE: {unix.RTA_CACHEINFO: "how often it was used"},
	unix.RTM_NEWRULE:  {},
}

// normal takes datagrams apart into messages, without what is wanted to differ.
func normal(datagrams [][]byte) (msgs []string) {
	for _, b := range datagrams {
		for len(b) >= unix.NLMSG_HDRLEN {
			h := parseHeader(b)
			m := b[unix.NLMSG_HDRLEN:min(int(h.size), len(b))]
			b = b[min(align(int(h.size)), len(b)):]
			fixed := len(m)
			switch h.typ {
			case unix.RTM_NEWLINK:
				fixed = unix.SizeofIfInfomsg
			case unix.RTM_NEWADDR:
				fixed = unix.SizeofIfAddrmsg
			case unix.RTM_NEWROUTE, unix.RTM_NEWRULE:
				fixed = unix.SizeofRtMsg
				if m[0] == familyIPMR || m[0] == familyIP6MR {
					continue // of multicast routes, which a kernel may do without
				}
			default:
				if known := wantedDifferences[h.typ]; known == nil && h.typ != unix.NLMSG_ERROR && h.typ != unix.NLMSG_DONE {
					continue // of a list that is empty here
				}
			}
			if h.typ == unix.NLMSG_DONE && h.seq == seqOfOther {
				copy(m, "none") // maybe it would want to know more
			}
			var text strings.Builder
			if h.typ == unix.NLMSG_ERROR && len(m) >= 20 {
				q := parseHeader(m[4:])
				if errno := native32(m); errno != 0 && q.typ&3 == 2 && q.typ != unix.RTM_GETLINK && q.typ != unix.RTM_GETADDR && q.typ != unix.RTM_GETROUTE && q.flags&unix.NLM_F_DUMP == 0 {
					copy(m, "none") // refused, one way or the other
				}
			}
			fmt.Fprintf(&text, "type %d flags %#x seq %d port %d: % x\n", h.typ, h.flags, h.seq, h.port, m[:fixed])
			for typ, val := range each(m[fixed:]) {
				if h.typ == unix.RTM_NEWLINK && (typ == unix.IFLA_STATS || typ == unix.IFLA_STATS64) {
					// The kernel may have tried to send something of its own, or have dropped it.
					fmt.Fprintf(&text, "  %d: %d bytes of counters\n", typ, len(val))
				} else if wantedDifferences[h.typ][typ] == "" {
					fmt.Fprintf(&text, "  %d: % x\n", typ, val)
				} else if h.typ == unix.RTM_NEWADDR {
					fmt.Fprintf(&text, "  %d: % x and two time stamps\n", typ, val[:8])
				}
			}
			msgs = append(msgs, text.String())
		}
	}
	return msgs
}

// drain receives all that waits.
func drain(t fataler, recv func(int, bool) ([]byte, int, []byte, error)) (all [][]byte) {
	for {
		b, _, from, err := recv(1<<16, false)
		if err == unix.EAGAIN {
			return all
		}
		if err != nil || !bytes.Equal(from, Address(0, 0)) {
			t.Fatalf("recvfrom: % x, %v", from, err)
		}
		all = append(all, b)
	}
}

func diff(kernel, ours []string) string {
	if slices.Equal(kernel, ours) {
		return ""
	}
	for i := range max(len(kernel), len(ours)) {
		var k, o string
		if i < len(kernel) {
			k = kernel[i]
		}
		if i < len(ours) {
			o = ours[i]
		}
		for k != "" && o != "" {
			kl, kr, _ := strings.Cut(k, "\n")
			ol, or, _ := strings.Cut(o, "\n")
			if kl != ol {
				break
			}
			k, o = kr, or
		}
		if k != o {
			return fmt.Sprintf("message %d:\nkernel: %sours:   %s", i, k, o)
		}
	}
	return ""
}

// Of a device that is down, too.
func TestDownDevicesAreTheKernels(t *testing.T) {
	compare(t, func(t *testing.T, bus *Bus, setUp func(string, bool)) {
		for _, c := range alike {
			setUp(c.Name, false)
		}
		p := newPeer(t)
		defer unix.Close(p.fd)
		p.bind(Address(0, 0))
		s := bus.Socket(native32(p.name(t)[4:]), unix.SOCK_RAW)
		for _, typ := range []uint16{unix.RTM_GETLINK, unix.RTM_GETADDR, unix.RTM_GETROUTE} {
			b := dumpOf(typ, 0)
			p.send(Address(0, 0), b)
			send(t, s, b)
			kernel, ours := normal(drain(t, p.recv)), normal(drain(t, s.recv))
			if d := diff(kernel, ours); d != "" {
				t.Error(d)
			}
		}
	})
}

// Lists of routes and rules, filtered and not, and lookups: what lo's, the TAP's and the
// TUN's addresses give.
func TestRoutesAreTheKernels(t *testing.T) {
	compare(t, func(t *testing.T, bus *Bus, _ func(string, bool)) {
		for _, typ := range []uint16{unix.RTM_GETROUTE, unix.RTM_GETRULE} {
			for _, family := range []byte{0, unix.AF_INET, unix.AF_INET6} {
				for _, strict := range []bool{false, true} {
					if d := sameAnswer(t, bus, strict, rtmsg(typ, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 5, append([]byte{family}, make([]byte, 11)...)...)); d != "" {
						t.Errorf("type %d, family %d, strict %v: %s", typ, family, strict, d)
					}
				}
			}
		}
		rapid.Check(t, func(t *rapid.T) {
			b := rapid.Custom(genRouteRequest).Draw(t, "request")
			if d := sameAnswer(t, bus, rapid.Bool().Draw(t, "strict"), b); d != "" {
				t.Fatalf("% x\n%s", b, d)
			}
		})
	})
}

// sameAnswer sends a request to both, and tells how the answers differ.
func sameAnswer(t fataler, bus *Bus, strict bool, b []byte) string {
	p := newPeer(t)
	defer unix.Close(p.fd)
	p.bind(Address(0, 0))
	s := bus.Socket(native32(p.name(t)[4:]), unix.SOCK_RAW)
	defer s.Close()
	s.SetUser(func() uint32 { return uint32(os.Getuid()) })
	if strict {
		on := binary.NativeEndian.AppendUint32(nil, 1)
		p.setsockopt(unix.NETLINK_GET_STRICT_CHK, on)
		s.Setsockopt(unix.NETLINK_GET_STRICT_CHK, on)
	}
	if kerr, err := p.send(Address(0, 0), b), s.Send(Address(0, 0), b); kerr != err {
		t.Fatalf("% x: kernel %v, ours %v", b, kerr, err)
	}
	return diff(normal(drain(t, p.recv)), normal(drain(t, s.recv)))
}

// Addresses that a lookup may ask for: of devices, of their networks, of none.
var asked = map[byte][]netip.Addr{
	unix.AF_INET: addrs("192.0.2.1", "192.0.2.2", "192.0.2.77", "192.0.2.255", "198.51.100.1", "198.51.100.2", "203.0.113.8", "10.0.3.1", "10.0.3.9",
		"127.0.0.1", "127.0.1.1", "127.255.255.255", "127.1.2.3", "8.8.8.8", "0.0.0.0", "0.1.2.3", "255.255.255.255", "224.0.0.1", "224.0.0.251", "239.1.2.3"),
	unix.AF_INET6: addrs("2001:db8::1", "2001:db8::2", "2001:db8:1::1", "2001:db8:1::9", "fe80::1", "fe80::2", "::1", "::", "2001:dead::1", "ff02::1", "ff05::2", "fc00::1"),
}

func addrs(all ...string) (as []netip.Addr) {
	for _, a := range all {
		as = append(as, netip.MustParseAddr(a))
	}
	return as
}

func genRouteRequest(t *rapid.T) []byte {
	family := rapid.SampledFrom([]byte{unix.AF_INET, unix.AF_INET, unix.AF_INET6}).Draw(t, "family")
	list := rapid.IntRange(0, 2).Draw(t, "list") == 0
	rarely := func(label string, of ...byte) byte {
		if rapid.IntRange(0, 9).Draw(t, label) == 0 {
			return rapid.SampledFrom(of).Draw(t, label)
		}
		return 0
	}
	if list {
		family = rapid.SampledFrom([]byte{0, unix.AF_INET, unix.AF_INET6, unix.AF_PACKET, familyIPMR}).Draw(t, "family of the list")
		typ := rapid.SampledFrom([]uint16{unix.RTM_GETROUTE, unix.RTM_GETROUTE, unix.RTM_GETRULE}).Draw(t, "type")
		body := []byte{family, rarely("dst_len", 24), 0, rarely("tos", 4), rarely("table", 253, 254, 255, 9), rarely("protocol", 2, 3), rarely("scope", 253), rarely("rtm_type", 1, 2, 5)}
		body = binary.NativeEndian.AppendUint32(body, rapid.SampledFrom([]uint32{0, 0, 0, 0, unix.RTM_F_CLONED, unix.RTM_F_PREFIX, unix.RTM_F_NOTIFY}).Draw(t, "flags"))
		var a attrs
		switch rapid.IntRange(0, 5).Draw(t, "attribute") {
		case 0:
			a.uint32(unix.RTA_TABLE, rapid.SampledFrom([]uint32{0, 254, 255, 9, 1000}).Draw(t, "RTA_TABLE"))
		case 1:
			a.uint32(unix.RTA_OIF, rapid.SampledFrom([]uint32{0, 1, 2, 3, 9}).Draw(t, "RTA_OIF"))
		case 2:
			a.uint32(unix.RTA_PRIORITY, 0)
		}
		body = append(body, a...)
		if rapid.IntRange(0, 9).Draw(t, "short") == 0 {
			body = body[:rapid.IntRange(1, len(body)).Draw(t, "length")]
		}
		return rtmsg(typ, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 7, body...)
	}
	bits := byte(32)
	if family == unix.AF_INET6 {
		bits = 128
	}
	whole := func(label string) byte {
		return rapid.SampledFrom([]byte{bits, bits, bits, 0, 24}).Draw(t, label)
	}
	ip := func(label string) []byte { return rapid.SampledFrom(asked[family]).Draw(t, label).AsSlice() }
	var a attrs
	dstLen, srcLen := whole("dst_len"), byte(0)
	if rapid.IntRange(0, 9).Draw(t, "to") > 0 {
		a.bytes(unix.RTA_DST, ip("RTA_DST"))
	}
	// A source of IPv6 is not looked at where routes have none.
	if family == unix.AF_INET && rapid.IntRange(0, 3).Draw(t, "from") == 0 {
		srcLen = whole("src_len")
		a.bytes(unix.RTA_SRC, ip("RTA_SRC"))
	}
	if rapid.IntRange(0, 2).Draw(t, "by") == 0 {
		a.uint32(unix.RTA_OIF, rapid.SampledFrom([]uint32{0, 1, 2, 3, 9}).Draw(t, "RTA_OIF"))
	}
	if family == unix.AF_INET && rapid.IntRange(0, 9).Draw(t, "marked") == 0 {
		a.uint32(unix.RTA_MARK, 7)
	}
	if rapid.IntRange(0, 19).Draw(t, "as a user") == 0 {
		a.uint32(unix.RTA_UID, 65534)
	}
	if rapid.IntRange(0, 19).Draw(t, "of a protocol") == 0 {
		a.uint8(unix.RTA_IP_PROTO, rapid.SampledFrom([]uint8{unix.IPPROTO_TCP, unix.IPPROTO_ICMP, unix.IPPROTO_SCTP}).Draw(t, "RTA_IP_PROTO"))
	}
	if rapid.IntRange(0, 19).Draw(t, "unknown") == 0 {
		a.uint32(unix.RTA_PRIORITY, 0)
	}
	// Not RTM_F_NOTIFY: Linux keeps it for later lookups of the same route.
	body := []byte{family, dstLen, srcLen, 0, rarely("table", 254), 0, 0, rarely("rtm_type", 1)}
	body = binary.NativeEndian.AppendUint32(body, rapid.SampledFrom([]uint32{0, unix.RTM_F_LOOKUP_TABLE, unix.RTM_F_FIB_MATCH, unix.RTM_F_LOOKUP_TABLE | unix.RTM_F_FIB_MATCH, unix.RTM_F_CLONED}).Draw(t, "flags"))
	body = append(body, a...)
	if rapid.IntRange(0, 19).Draw(t, "short") == 0 {
		body = body[:rapid.IntRange(1, len(body)).Draw(t, "length")]
	}
	return rtmsg(unix.RTM_GETROUTE, unix.NLM_F_REQUEST|rapid.SampledFrom([]uint16{0, unix.NLM_F_ACK}).Draw(t, "ack"), 7, body...)
}

func TestAnswersAreTheKernels(t *testing.T) {
	compare(t, func(t *testing.T, bus *Bus, _ func(string, bool)) {
		rapid.Check(t, func(t *rapid.T) {
			p := newPeer(t)
			defer unix.Close(p.fd)
			p.bind(Address(0, 0))
			s := bus.Socket(binary.NativeEndian.Uint32(p.name(t)[4:]), unix.SOCK_RAW)
			defer s.Close()
			b := rapid.Custom(genRequest).Draw(t, "request")
			first := parseHeader(b)
			listed := first.typ == unix.RTM_GETLINK || first.typ == unix.RTM_GETADDR
			for _, name := range []int{unix.NETLINK_GET_STRICT_CHK, unix.NETLINK_CAP_ACK} {
				if listed && rapid.Bool().Draw(t, "option") {
					on := binary.NativeEndian.AppendUint32(nil, 1)
					p.setsockopt(name, on)
					s.Setsockopt(name, on)
				}
			}
			// Only lists of addresses are in pieces like the kernel's.
			if (first.flags&unix.NLM_F_DUMP == 0 || first.typ == unix.RTM_GETADDR) && rapid.IntRange(0, 9).Draw(t, "more") == 0 {
				b = append(b, rapid.Custom(genRequest).Draw(t, "second")...)
			}
			kerr, err := p.send(Address(0, 0), b), s.Send(Address(0, 0), b)
			if kerr != err {
				t.Fatalf("% x: kernel %v, ours %v", b, kerr, err)
			}
			kernel, ours := normal(drain(t, p.recv)), normal(drain(t, s.recv))
			if first.typ == unix.RTM_GETLINK { // whose pieces are not like the kernel's: something may come between
				slices.Sort(kernel)
				slices.Sort(ours)
			}
			if d := diff(kernel, ours); d != "" {
				t.Fatalf("% x\n%s", b, d)
			}
		})
	})
}

// seqOfOther marks requests about other things than links and addresses: what
// counts is whether there is such a list, and whether changes are refused.
const seqOfOther = 0xfeed

func genRequest(t *rapid.T) []byte {
	typ := rapid.SampledFrom([]uint16{unix.RTM_GETLINK, unix.RTM_GETLINK, unix.RTM_GETADDR}).Draw(t, "type")
	if rapid.IntRange(0, 9).Draw(t, "other") == 0 {
		typ = rapid.Uint16Range(0, 200).Draw(t, "type")
	}
	flags := rapid.SampledFrom([]uint16{unix.NLM_F_REQUEST, unix.NLM_F_REQUEST | unix.NLM_F_DUMP, unix.NLM_F_REQUEST | unix.NLM_F_ACK, unix.NLM_F_REQUEST | unix.NLM_F_ROOT, unix.NLM_F_ACK, unix.NLM_F_REQUEST | unix.NLM_F_DUMP | unix.NLM_F_ACK}).Draw(t, "flags")
	seq := rapid.Uint32().Draw(t, "seq")
	families := []byte{0, 0, 0, unix.AF_INET, unix.AF_PACKET, 1, 45, 255}
	if typ == unix.RTM_GETADDR && flags&unix.NLM_F_DUMP != 0 {
		families = append(families, unix.AF_INET6)
	}
	if typ == unix.RTM_GETROUTE || typ == unix.RTM_GETRULE {
		return genRouteRequest(t)
	}
	if typ != unix.RTM_GETLINK && typ != unix.RTM_GETADDR {
		return rtmsg(typ, flags, seqOfOther, make([]byte, 16)...)
	}
	family := rapid.SampledFrom(families).Draw(t, "family")
	index := rapid.SampledFrom([]uint32{0, 0, 2, 3, 9, 1 << 31}).Draw(t, "index")
	zero := func(label string) byte {
		if rapid.IntRange(0, 19).Draw(t, label) == 0 {
			return rapid.Byte().Draw(t, label)
		}
		return 0
	}
	body := []byte{family, zero("a"), zero("b"), zero("c")}
	body = binary.NativeEndian.AppendUint32(body, index)
	if typ == unix.RTM_GETLINK {
		body = append(body, zero("flags"), 0, 0, 0, zero("change"), 0, 0, 0)
	}
	if rapid.IntRange(0, 9).Draw(t, "short") == 0 {
		body = body[:rapid.IntRange(0, len(body)).Draw(t, "length")]
	} else {
		for range rapid.IntRange(0, 3).Draw(t, "attributes") {
			body = append(body, genAttr(t)...)
		}
		body = append(body, make([]byte, max(0, rapid.IntRange(-20, 3).Draw(t, "leftover")))...)
	}
	b := rtmsg(typ, flags, seq, body...)
	if rapid.IntRange(0, 19).Draw(t, "wrong length") == 0 {
		binary.NativeEndian.PutUint32(b, rapid.Uint32Range(0, 200).Draw(t, "nlmsg_len"))
	}
	return b
}

func genAttr(t *rapid.T) []byte {
	var a attrs
	typ := rapid.SampledFrom([]uint16{unix.IFLA_EXT_MASK, unix.IFLA_IFNAME, unix.IFLA_ALT_IFNAME, unix.IFLA_MASTER, unix.IFLA_LINKINFO, unix.IFLA_TARGET_NETNSID, unix.IFLA_STATS, 1000}).Draw(t, "attribute")
	switch typ {
	case unix.IFLA_IFNAME, unix.IFLA_ALT_IFNAME:
		a.bytes(typ, []byte(rapid.SampledFrom([]string{"tap2", "tap2\x00", "tun3\x00junk", "nosuch", "", "0123456789abcdef", "0123456789abcde\x00", "\x00"}).Draw(t, "name")))
	case unix.IFLA_EXT_MASK:
		a.uint32(typ, rapid.SampledFrom([]uint32{0, 1, 8, 9, 1 << 31}).Draw(t, "mask"))
	case unix.IFLA_MASTER:
		a.uint32(typ, rapid.SampledFrom([]uint32{0, 1, 2, 0xffffffff}).Draw(t, "master"))
	case unix.IFLA_LINKINFO:
		var info attrs
		info.string(unix.IFLA_INFO_KIND, rapid.SampledFrom([]string{"tun", "tun\x00more"}).Draw(t, "kind"))
		a.bytes(typ, info)
	case unix.IFLA_STATS: // not looked at
		a.bytes(typ, make([]byte, 96))
	default:
		a.uint32(typ, rapid.Uint32().Draw(t, "value"))
	}
	// A kind cut short is one that Linux does not know, and does not look for.
	if typ != unix.IFLA_LINKINFO && rapid.IntRange(0, 19).Draw(t, "cut") == 0 {
		val := a[unix.SizeofNlAttr:]
		a = nil
		a.bytes(typ, val[:rapid.IntRange(0, len(val)).Draw(t, "cut to")])
	}
	return a
}

// Whatever a program does with its socket, in which order: what it gets is what
// the kernel would have given it, to the byte.
func TestSocketsAreTheKernels(t *testing.T) {
	compare(t, func(t *testing.T, bus *Bus, _ func(string, bool)) {
		rapid.Check(t, func(t *rapid.T) {
			// Somebody else has a port.
			other, rival := newPeer(t), bus.Socket(0, unix.SOCK_RAW)
			defer unix.Close(other.fd)
			defer rival.Close()
			other.bind(Address(77, 0))
			rival.Bind(Address(77, 0))
			p := newPeer(t)
			defer unix.Close(p.fd)
			s := bus.Socket(uint32(os.Getpid()), unix.SOCK_RAW)
			defer s.Close()
			rcvbuf, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
			if err != nil {
				t.Fatal(err)
			}
			s.SetReceiveBuffer(rcvbuf)
			same := func(what string, kernel, ours error) {
				if kernel != ours {
					t.Fatalf("%s: kernel %v, ours %v", what, kernel, ours)
				}
			}
			address := func() []byte {
				port := rapid.SampledFrom([]uint32{0, 0, 0, 77, 88, uint32(os.Getpid())}).Draw(t, "port")
				a := Address(port, rapid.SampledFrom([]uint32{0, 0, 1, 0x11, 1 << 31}).Draw(t, "groups"))
				if rapid.IntRange(0, 19).Draw(t, "odd address") == 0 {
					a[0] = rapid.Byte().Draw(t, "family")
					a = a[:rapid.IntRange(2, len(a)).Draw(t, "length")]
				}
				return a
			}
			value := func(vs ...uint32) []byte {
				v := binary.NativeEndian.AppendUint32(nil, rapid.SampledFrom(vs).Draw(t, "value"))
				if rapid.IntRange(0, 19).Draw(t, "short") == 0 {
					v = v[:rapid.IntRange(0, 3).Draw(t, "length")]
				}
				return v
			}
			t.Repeat(map[string]func(*rapid.T){
				"bind": func(t *rapid.T) {
					a := address()
					same(fmt.Sprintf("bind % x", a), p.bind(a), s.Bind(a))
				},
				"getsockname": func(t *rapid.T) {
					if k, o := p.name(t), s.Name(); !bytes.Equal(k, o) {
						t.Fatalf("getsockname: kernel % x, ours % x", k, o)
					}
				},
				"setsockopt": func(t *rapid.T) {
					name, val := rapid.IntRange(0, 14).Draw(t, "option"), value(0, 1, 2, 5, 9, 32, 33, 1000)
					same(fmt.Sprintf("setsockopt %d % x", name, val), p.setsockopt(name, val), s.Setsockopt(name, val))
				},
				"getsockopt": func(t *rapid.T) {
					name, room := rapid.IntRange(0, 14).Draw(t, "option"), rapid.IntRange(0, 12).Draw(t, "room")
					kval, oval := make([]byte, room), make([]byte, room)
					kn, kerr := p.getsockopt(name, kval)
					on, err := s.Getsockopt(name, oval)
					same(fmt.Sprintf("getsockopt %d", name), kerr, err)
					if err == nil && (kn != on || !bytes.Equal(kval, oval)) {
						t.Fatalf("getsockopt %d: kernel %d % x, ours %d % x", name, kn, kval, on, oval)
					}
				},
				"send": func(t *rapid.T) {
					to := address()
					b := rtmsg(unix.RTM_GETADDR, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, rapid.Uint32().Draw(t, "seq"), rapid.SampledFrom([]byte{0, 0, 2, 10}).Draw(t, "family"), 0, 0, 0, 0, 0, 0, 0)
					if rapid.IntRange(0, 3).Draw(t, "change") == 0 {
						b = rtmsg(unix.RTM_NEWADDR, unix.NLM_F_REQUEST|unix.NLM_F_ACK, 5, make([]byte, rapid.IntRange(0, 100).Draw(t, "length"))...)
					}
					if rapid.IntRange(0, 9).Draw(t, "nothing") == 0 {
						b = nil
					}
					same(fmt.Sprintf("sendto % x: % x", to, b), p.send(to, b), s.Send(to, b))
				},
				"": func(t *rapid.T) {
					room := rapid.SampledFrom([]int{0, 16, 100, 4096, 5000, 8192, 32768, 65536}).Draw(t, "room")
					peek := rapid.Bool().Draw(t, "peek")
					k, kn, kfrom, kerr := p.recv(room, peek)
					o, on, ofrom, err := s.recv(room, peek)
					what := fmt.Sprintf("recvfrom %d, peek %v", room, peek)
					same(what, kerr, err)
					unstamp(k)
					if !bytes.Equal(k, o) || kn != on || !bytes.Equal(kfrom, ofrom) {
						t.Fatalf("%s:\nkernel %d from % x: % x\nours   %d from % x: % x", what, kn, kfrom, k, on, ofrom, o)
					}
				},
			})
		})
	})
}

// unstamp clears the time stamps of addresses in a datagram that may be cut.
func unstamp(b []byte) {
	for len(b) >= unix.NLMSG_HDRLEN {
		h := parseHeader(b)
		if h.typ == unix.RTM_NEWADDR {
			at := unix.NLMSG_HDRLEN + unix.SizeofIfAddrmsg
			for at+unix.SizeofNlAttr <= min(int(h.size), len(b)) {
				if binary.NativeEndian.Uint16(b[at+2:]) == unix.IFA_CACHEINFO {
					clear(b[min(at+12, len(b)):min(at+20, len(b))])
				}
				at += align(int(binary.NativeEndian.Uint16(b[at:])))
			}
		}
		b = b[min(align(int(h.size)), len(b)):]
	}
}

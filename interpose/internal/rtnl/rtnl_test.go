//go:build linux

package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/interpose/internal/netdev"
)

func newBus(t testing.TB, configs ...rxring.DeviceConfig) (*Bus, *rxring.Namespace) {
	t.Helper()
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	for _, c := range configs {
		add(t, ns, c)
	}
	return NewBus(ns, netdev.Flags), ns
}

func add(t testing.TB, ns *rxring.Namespace, c rxring.DeviceConfig) *rxring.Device {
	t.Helper()
	d, err := ns.AddDevice(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func send(t testing.TB, s *Socket, b []byte) {
	t.Helper()
	if err := s.Send(nil, b); err != nil {
		t.Fatal(err)
	}
}

func dumpOf(typ uint16, family byte) []byte {
	return rtmsg(typ, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 9, family)
}

// An independent reader of netlink finds in the answers what the devices are.
func TestAnswersCanBeRead(t *testing.T) {
	bus, ns := newBus(t, alike...)
	s := bus.Socket(7, unix.SOCK_RAW)
	send(t, s, dumpOf(unix.RTM_GETLINK, 0))
	var links []netlink.Link
	for _, b := range drain(t, s.recv) {
		msgs, err := syscall.ParseNetlinkMessage(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs {
			if m.Header.Type != unix.RTM_NEWLINK {
				continue
			}
			h := unix.NlMsghdr{Type: m.Header.Type}
			l, err := netlink.LinkDeserialize(&h, m.Data)
			if err != nil {
				t.Fatal(err)
			}
			links = append(links, l)
		}
	}
	devices := netdev.All(ns)
	if len(links) != len(devices) {
		t.Fatalf("%d links", len(links))
	}
	if lo := links[0].Attrs(); lo.Name != "lo" || lo.Index != 1 || lo.Flags&net.FlagLoopback == 0 || lo.EncapType != "loopback" {
		t.Errorf("lo: %+v", lo)
	}
	for i, d := range devices[1:] {
		a, addr := links[1+i].Attrs(), d.HardwareAddr()
		mode := netlink.TUNTAP_MODE_TAP
		if d.Type() == rxring.RawIP {
			addr, mode = [6]byte{}, netlink.TUNTAP_MODE_TUN
		}
		if a.Name != d.Name() || a.Index != d.Index() || a.MTU != d.MTU() || a.Flags&net.FlagUp == 0 || a.Flags&net.FlagRunning == 0 ||
			a.RawFlags&unix.IFF_LOWER_UP == 0 || links[1+i].Type() != "tuntap" || links[1+i].(*netlink.Tuntap).Mode != mode ||
			d.Type() == rxring.Ethernet && a.HardwareAddr.String() != net.HardwareAddr(addr[:]).String() {
			t.Errorf("%s: %T %+v", d.Name(), links[1+i], a)
		}
	}
}

// TestTheLongestSegmentIsToldOf: Linux's default is told, and what BIG TCP's devices
// carry.
func TestTheLongestSegmentIsToldOf(t *testing.T) {
	for maxLen, want := range map[int]uint32{0: 65536, 60000: 65536, 185000: 185000} {
		bus, _ := newBus(t, rxring.DeviceConfig{Name: "net0", MaxLen: maxLen})
		s := bus.Socket(7, unix.SOCK_RAW)
		send(t, s, dumpOf(unix.RTM_GETLINK, 0))
		text := strings.Join(normal(drain(t, s.recv)), "")
		for attr, size := range map[uint16]uint32{unix.IFLA_GSO_MAX_SIZE: want, unix.IFLA_GRO_MAX_SIZE: want, unix.IFLA_TSO_MAX_SIZE: want, unix.IFLA_GSO_IPV4_MAX_SIZE: 65536} {
			if line := fmt.Sprintf("  %d: % x\n", attr, binary.NativeEndian.AppendUint32(nil, size)); !strings.Contains(text, line) {
				t.Errorf("MaxLen %d: no %q in\n%s", maxLen, line, text)
			}
		}
	}
}

func TestPromiscuityIsCounted(t *testing.T) {
	bus, ns := newBus(t, alike[0])
	for range 2 {
		s, err := ns.Socket(rxring.SockRaw, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		mreq := make([]byte, 16)
		binary.NativeEndian.PutUint32(mreq, 2)
		binary.NativeEndian.PutUint16(mreq[4:], unix.PACKET_MR_PROMISC)
		if err := s.Setsockopt(unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq); err != nil {
			t.Fatal(err)
		}
	}
	s := bus.Socket(7, unix.SOCK_RAW)
	send(t, s, dumpOf(unix.RTM_GETLINK, 0))
	text := strings.Join(normal(drain(t, s.recv)), "")
	if !strings.Contains(text, fmt.Sprintf("  %d: 02 00 00 00\n", unix.IFLA_PROMISCUITY)) {
		t.Error(text)
	}
}

// A list of many devices comes in pieces of what the program has room for, and
// none is lost or told twice.
func TestListsComeInPieces(t *testing.T) {
	bus, ns := newBus(t)
	for i := range 200 {
		add(t, ns, rxring.DeviceConfig{Name: fmt.Sprint("net", i)})
	}
	for _, c := range []struct{ room, most int }{{0, goodSize}, {100, goodSize}, {8192, 8192}, {32768, 32768 - skbOverhead}, {1 << 20, 32768 - skbOverhead}} {
		s := bus.Socket(7, unix.SOCK_RAW)
		s.Take(c.room, false) // it has once received with so much room
		send(t, s, dumpOf(unix.RTM_GETLINK, 0))
		next, pieces := 1, 0 // lo is the first
		for s.Readable() {
			d, err := s.Front()
			if err != nil {
				t.Fatal(err)
			}
			s.Take(c.room, false)
			b, one := d.Data, 0
			if len(b) > c.most {
				t.Errorf("room %d: a piece of %d bytes: want at most %d", c.room, len(b), c.most)
			}
			for ; len(b) > 0; b = b[native32(b):] {
				if parseHeader(b).typ == unix.RTM_NEWLINK {
					if one = int(native32(b)); int(native32(b[20:])) != next {
						t.Fatalf("room %d: device %d after %d", c.room, native32(b[20:]), next-1)
					}
					next++
				}
			}
			if pieces++; s.dump != nil && len(s.dump.items) > 0 && len(d.Data)+one+50 < c.most {
				t.Errorf("room %d: a piece of %d bytes though %d more fit", c.room, len(d.Data), one)
			}
		}
		if next != 202 || pieces < 200*700/c.most {
			t.Errorf("room %d: %d devices in %d pieces", c.room, next-1, pieces)
		}
		s.Close()
	}
}

func TestMembersOfGroupsAreNotifiedOfChanges(t *testing.T) {
	bus, ns := newBus(t, rxring.DeviceConfig{Name: "old0"})
	promiscuous := uint32(0)
	bus.flags = func(d *rxring.Device) uint32 {
		if d.Name() == "new0" {
			return netdev.Flags(d) | promiscuous
		}
		return netdev.Flags(d)
	}
	group := func(s *Socket, n uint32) {
		if err := s.Setsockopt(unix.NETLINK_ADD_MEMBERSHIP, binary.NativeEndian.AppendUint32(nil, n)); err != nil {
			t.Fatal(err)
		}
	}
	links, addrs, deaf := bus.Socket(1, unix.SOCK_RAW), bus.Socket(2, unix.SOCK_RAW), bus.Socket(3, unix.SOCK_RAW)
	if bus.HasMembers() || bus.Announce() {
		t.Error("an announcement without a member")
	}
	links.Bind(Address(0, 1)) // RTMGRP_LINK
	group(addrs, unix.RTNLGRP_IPV4_IFADDR)
	group(addrs, unix.RTNLGRP_IPV6_IFADDR)
	if bus.Announce() {
		t.Error("told of what was there before")
	}
	dev := add(t, ns, rxring.DeviceConfig{Name: "new0", Prefixes: prefixes("192.0.2.1/24", "2001:db8::1/64")})
	if !bus.Announce() {
		t.Error("no announcement")
	}
	if bus.Announce() {
		t.Error("told twice")
	}
	d, err := links.Front()
	h := parseHeader(d.Data)
	if err != nil || d.Group != unix.RTNLGRP_LINK || h.typ != unix.RTM_NEWLINK || h.seq != 0 || h.port != 0 || h.flags != 0 || native32(d.Data[20:]) != 3 {
		t.Errorf("%+v % x %v", h, d.Data, err)
	}
	if string(d.From()) != string(Address(0, 1)) {
		t.Errorf("from % x", d.From())
	}
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		d, err := addrs.Front()
		if err != nil || parseHeader(d.Data).typ != unix.RTM_NEWADDR || d.Data[unix.NLMSG_HDRLEN] != family {
			t.Errorf("% x %v", d.Data, err)
		}
		addrs.Take(100, false)
	}
	if deaf.Readable() {
		t.Error("a socket that has not subscribed was notified")
	}
	links.Take(100, false)

	const down = unix.IFF_BROADCAST | unix.IFF_MULTICAST
	up := netdev.Flags(dev)
	for _, step := range []struct {
		what  string
		do    func()
		links string
		addrs string
	}{
		{"down", func() { dev.SetUp(false) }, fmt.Sprintf("new flags %#x mtu 1500; ", down), "del 2001:db8::1/64; "},
		{"up", func() { dev.SetUp(true) }, fmt.Sprintf("new flags %#x mtu 1500; ", up), "new 2001:db8::1/64; "},
		{"promiscuous", func() { promiscuous = unix.IFF_PROMISC; bus.FlagsChanged() }, fmt.Sprintf("new flags %#x mtu 1500; ", up|unix.IFF_PROMISC), ""},
		{"not promiscuous", func() { promiscuous = 0; bus.FlagsChanged() }, fmt.Sprintf("new flags %#x mtu 1500; ", up), ""},
		{"another MTU", func() { dev.SetMTU(1280, 0) }, fmt.Sprintf("new flags %#x mtu 1280; ", up), ""},
		{"the same MTU", func() { dev.SetMTU(1280, 0) }, "", ""},
		{"an address more", func() { dev.SetPrefixes(prefixes("192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64")) }, "", "new 192.0.2.2/24 secondary; "},
		{"the primary address gone", func() { dev.SetPrefixes(prefixes("192.0.2.2/24", "2001:db8::1/64")) }, "", "del 192.0.2.1/24; new 192.0.2.2/24; "},
		{"another address", func() { dev.SetPrefixes(prefixes("198.51.100.1/24")) }, "", "del 192.0.2.2/24; del 2001:db8::1/64; new 198.51.100.1/24; "},
		{"removed", func() { ns.RemoveDevice(dev) }, fmt.Sprintf("del flags %#x mtu 1280; ", down), "del 198.51.100.1/24; "},
	} {
		step.do()
		if wants := step.links+step.addrs != ""; bus.Announce() != wants || bus.Announce() {
			t.Errorf("%s: announced %v, want %v, and only once", step.what, !wants, wants)
		}
		if got := linkNews(t, links); got != step.links {
			t.Errorf("%s: links %q, want %q", step.what, got, step.links)
		}
		if got := addrNews(t, addrs); got != step.addrs {
			t.Errorf("%s: addresses %q, want %q", step.what, got, step.addrs)
		}
	}
	links.Close()
	addrs.Close()
	if bus.HasMembers() {
		t.Error("closed sockets listen")
	}
}

var newsTypes = map[uint16]string{
	unix.RTM_NEWLINK: "new", unix.RTM_DELLINK: "del",
	unix.RTM_NEWADDR: "new", unix.RTM_DELADDR: "del",
}

// linkNews reads the announcements of links that wait at s, with an independent reader.
func linkNews(t *testing.T, s *Socket) (news string) {
	t.Helper()
	for s.Readable() {
		d, err := s.Front()
		if err != nil {
			t.Fatal(err)
		}
		h := parseHeader(d.Data)
		l, err := netlink.LinkDeserialize(&unix.NlMsghdr{Type: h.typ}, d.Data[unix.NLMSG_HDRLEN:])
		if err != nil {
			t.Fatal(err)
		}
		news += fmt.Sprintf("%s flags %#x mtu %d; ", newsTypes[h.typ], l.Attrs().RawFlags, l.Attrs().MTU)
		s.Take(100, false)
	}
	return news
}

// addrNews is linkNews for addresses.
func addrNews(t *testing.T, s *Socket) (news string) {
	t.Helper()
	for s.Readable() {
		d, err := s.Front()
		if err != nil {
			t.Fatal(err)
		}
		body := d.Data[unix.NLMSG_HDRLEN:]
		addr, ok := netip.AddrFromSlice(body[unix.SizeofIfAddrmsg+unix.SizeofRtAttr:][:map[byte]int{unix.AF_INET: 4, unix.AF_INET6: 16}[body[0]]])
		if !ok {
			t.Fatalf("% x", d.Data)
		}
		news += fmt.Sprintf("%s %v", newsTypes[parseHeader(d.Data).typ], netip.PrefixFrom(addr, int(body[1])))
		if body[2]&unix.IFA_F_SECONDARY != 0 {
			news += " secondary"
		}
		news += "; "
		s.Take(100, false)
	}
	return news
}

// A socket that is not read loses announcements, reports ENOBUFS once, and uses no more
// memory than its receive buffer.
func TestUnreadNotificationsEndInENOBUFS(t *testing.T) {
	bus, ns := newBus(t)
	slow, careless := bus.Socket(1, unix.SOCK_RAW), bus.Socket(2, unix.SOCK_RAW)
	for _, s := range []*Socket{slow, careless} {
		s.SetReceiveBuffer(10000)
		s.Bind(Address(0, 1))
	}
	careless.Setsockopt(unix.NETLINK_NO_ENOBUFS, binary.NativeEndian.AppendUint32(nil, 1))
	for i := range 20 {
		add(t, ns, rxring.DeviceConfig{Name: fmt.Sprint("net", i)})
	}
	bus.Announce()
	if slow.held > 10000 || bus.held != slow.held+careless.held {
		t.Errorf("%d bytes held, %d in all", slow.held, bus.held)
	}
	if _, ok := slow.First(); ok {
		t.Error("a datagram before the error")
	}
	if _, err := slow.Front(); err != unix.ENOBUFS {
		t.Errorf("%v", err)
	}
	for _, s := range []*Socket{slow, careless} {
		n := 0
		for ; s.Readable(); n++ {
			s.Take(100, false)
		}
		if n == 0 || n == 20 {
			t.Errorf("%d datagrams", n)
		}
	}
	slow.err = unix.ENOBUFS
	if err := slow.Error(); err != unix.ENOBUFS || slow.Error() != nil {
		t.Errorf("SO_ERROR: %v", err)
	}
	if bus.held != 0 {
		t.Errorf("%d bytes held without a socket", bus.held)
	}
}

func TestMemoryOfAllSocketsTogetherIsBounded(t *testing.T) {
	bus, _ := newBus(t, alike...)
	ask := rtmsg(unix.NLMSG_NOOP, unix.NLM_F_ACK, 1, make([]byte, 1)...)
	for i := range 100 {
		s := bus.Socket(uint32(i), unix.SOCK_RAW)
		for range 3000 {
			send(t, s, ask)
		}
		send(t, s, dumpOf(unix.RTM_GETLINK, 0))
		if !s.Readable() {
			t.Fatalf("socket %d is not notified", i)
		}
	}
	if bus.held > maxHeldAll+100*memory(goodSize) {
		t.Errorf("%d bytes held", bus.held)
	}
}

func TestFilterKeepsOutAndCuts(t *testing.T) {
	bus, _ := newBus(t, alike...)
	s := bus.Socket(1, unix.SOCK_RAW)
	if err := s.DetachFilter(); err != unix.ENOENT {
		t.Errorf("%v", err)
	}
	for _, keep := range []uint32{0, 10, 1 << 20} {
		f, err := cbpf.Compile([]cbpf.Instruction{{Op: unix.BPF_RET | unix.BPF_K, K: keep}})
		if err != nil {
			t.Fatal(err)
		}
		s.AttachFilter(f)
		send(t, s, rtmsg(unix.NLMSG_NOOP, unix.NLM_F_ACK, 1))
		d, err := s.Front()
		if keep == 0 && err != unix.EAGAIN || keep > 0 && len(d.Data) != min(int(keep), 36) {
			t.Errorf("keep %d: %d bytes, %v", keep, len(d.Data), err)
		}
		s.Take(100, false)
	}
	if err := s.DetachFilter(); err != nil {
		t.Error(err)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	bus, _ := newBus(t, alike...)
	for _, c := range []struct {
		behaviour string
		request   []byte
		errno     syscall.Errno
	}{
		{"a link is to be changed", rtmsg(unix.RTM_NEWLINK, unix.NLM_F_REQUEST, 1, make([]byte, 16)...), unix.EPERM},
		{"an address is to go", rtmsg(unix.RTM_DELADDR, unix.NLM_F_REQUEST, 1, make([]byte, 8)...), unix.EPERM},
		{"the way to somewhere", rtmsg(unix.RTM_GETROUTE, unix.NLM_F_REQUEST, 1, append([]byte{unix.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 8, 0, unix.RTA_DST, 0, 8, 8, 8, 8)...), unix.ENETUNREACH},
		{"how a packet that comes in goes on", rtmsg(unix.RTM_GETROUTE, unix.NLM_F_REQUEST, 1, append([]byte{unix.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 8, 0, unix.RTA_IIF, 0, 2, 0, 0, 0)...), unix.EOPNOTSUPP},
		{"one neighbour", rtmsg(unix.RTM_GETNEIGH, unix.NLM_F_REQUEST, 1, make([]byte, 12)...), unix.EOPNOTSUPP},
		{"a list that Linux does not make", rtmsg(unix.RTM_GETDCB, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 1, make([]byte, 12)...), unix.EOPNOTSUPP},
		{"something newer", rtmsg(9999, unix.NLM_F_REQUEST, 1, make([]byte, 12)...), unix.EOPNOTSUPP},
		{"a link that is not there", rtmsg(unix.RTM_GETLINK, unix.NLM_F_REQUEST, 1, 0, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), unix.ENODEV},
		{"no link in particular", rtmsg(unix.RTM_GETLINK, unix.NLM_F_REQUEST, 1, make([]byte, 16)...), unix.EINVAL},
	} {
		s := bus.Socket(1, unix.SOCK_RAW)
		send(t, s, c.request)
		d, err := s.Front()
		if err != nil || parseHeader(d.Data).typ != unix.NLMSG_ERROR || syscall.Errno(-int32(native32(d.Data[16:]))) != c.errno {
			t.Errorf("%s: % x, %v: want %v", c.behaviour, d.Data, err, c.errno)
		}
		s.Close()
	}
}

// Links as bridges and IPv6 see them are lists that are empty.
func TestListsThatAreEmpty(t *testing.T) {
	bus, _ := newBus(t, alike...)
	for _, b := range [][]byte{
		dumpOf(unix.RTM_GETLINK, unix.AF_BRIDGE), dumpOf(unix.RTM_GETLINK, unix.AF_INET6),
		dumpOf(unix.RTM_GETNEIGH, 0), dumpOf(unix.RTM_GETQDISC, 0), dumpOf(unix.RTM_GETMDB, unix.AF_BRIDGE),
	} {
		s := bus.Socket(1, unix.SOCK_RAW)
		send(t, s, b)
		all := drain(t, s.recv)
		if len(all) != 1 || len(all[0]) != 20 || parseHeader(all[0]).typ != unix.NLMSG_DONE || native32(all[0][16:]) != 0 {
			t.Errorf("% x: % x", b, all)
		}
		s.Close()
	}
}

// Whatever a program sends, what it gets is well-formed, is no more than it may
// get, and comes to an end.
func FuzzRequests(f *testing.F) {
	f.Add(dumpOf(unix.RTM_GETLINK, 0), []byte{100})
	f.Add(append(dumpOf(unix.RTM_GETADDR, 0), 0, 0, 0), []byte{1})
	var name attrs
	name.string(unix.IFLA_IFNAME, "tap2")
	name.uint32(unix.IFLA_EXT_MASK, 9)
	f.Add(rtmsg(unix.RTM_GETLINK, unix.NLM_F_REQUEST|unix.NLM_F_ACK, 3, append(make([]byte, 16), name...)...), []byte{0, 255})
	var kind, info attrs
	kind.string(unix.IFLA_INFO_KIND, "tun")
	info.bytes(unix.IFLA_LINKINFO, kind)
	info.uint32(unix.IFLA_MASTER, 0xffffffff)
	f.Add(rtmsg(unix.RTM_GETLINK, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 3, append(make([]byte, 16), info...)...), []byte{3})
	f.Add(dumpOf(unix.RTM_GETROUTE, 0), []byte{1})
	f.Add(dumpOf(unix.RTM_GETRULE, 0), []byte{0})
	var to attrs
	to.bytes(unix.RTA_DST, []byte{192, 0, 2, 2})
	f.Add(rtmsg(unix.RTM_GETROUTE, unix.NLM_F_REQUEST, 3, append([]byte{unix.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0}, to...)...), []byte{1})
	f.Add(rtmsg(unix.RTM_NEWADDR, unix.NLM_F_REQUEST, 4, make([]byte, 30)...), []byte{2})
	bus, _ := newBus(f, alike...)
	f.Fuzz(func(t *testing.T, b, how []byte) {
		s := bus.Socket(5, unix.SOCK_RAW)
		defer s.Close()
		if len(how) == 0 {
			how = []byte{0}
		}
		for i, name := range []int{unix.NETLINK_GET_STRICT_CHK, unix.NETLINK_CAP_ACK} {
			s.Setsockopt(name, []byte{how[0] >> i & 1, 0, 0, 0})
		}
		s.SetReceiveBuffer(1 << 15)
		for range 3 {
			if err := s.Send(Address(0, 0), b); (err != nil) != (len(b) == 0) {
				t.Fatal(err)
			}
		}
		if s.held > max(1<<15, memory(len(b)+100)) {
			t.Fatalf("%d bytes held", s.held)
		}
		for i := 0; ; i++ {
			d, err := s.Front()
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil || i > 1000 {
				t.Fatalf("%d datagrams, then %v", i, err)
			}
			msgs, err := syscall.ParseNetlinkMessage(d.Data)
			if err != nil || len(msgs) == 0 {
				t.Fatalf("% x: %v", d.Data, err)
			}
			for _, m := range msgs {
				if m.Header.Pid != 5 {
					t.Errorf("for port %d: % x", m.Header.Pid, d.Data)
				}
				if m.Header.Type == unix.RTM_NEWLINK || m.Header.Type == unix.RTM_NEWADDR {
					if _, err := syscall.ParseNetlinkRouteAttr(&m); err != nil {
						t.Errorf("% x: %v", d.Data, err)
					}
				}
			}
			s.Take(int(how[i%len(how)])<<7, i%3 == 2)
		}
		if s.dump != nil || s.held != 0 {
			t.Errorf("left: %+v, %d bytes", s.dump, s.held)
		}
	})
}

// Whatever address and option a program passes, its socket keeps one port and
// groups that there are.
func FuzzSocketCalls(f *testing.F) {
	f.Add(Address(0, 1), unix.NETLINK_ADD_MEMBERSHIP, []byte{39, 0, 0, 0}, 8)
	f.Add(Address(77, 1<<31), unix.NETLINK_DROP_MEMBERSHIP, []byte{32, 0, 0, 0}, 3)
	f.Add(Address(0, 0)[:5], unix.NETLINK_LIST_MEMBERSHIPS, []byte{1}, 0)
	f.Add([]byte{}, unix.NETLINK_GET_STRICT_CHK, []byte{}, 4)
	bus, _ := newBus(f, alike...)
	f.Fuzz(func(t *testing.T, addr []byte, name int, val []byte, room int) {
		s := bus.Socket(5, unix.SOCK_RAW)
		defer func() {
			s.Close()
			if len(bus.ports) != 0 || len(bus.sockets) != 0 {
				t.Errorf("%d ports, %d sockets left", len(bus.ports), len(bus.sockets))
			}
		}()
		for range 2 {
			bound, before := s.bound, s.port
			if err := s.Bind(addr); err == nil && (!s.bound || bound && s.port != before) {
				t.Errorf("bind % x: port %d, was %d", addr, s.port, before)
			}
			s.Setsockopt(name, val)
			s.Send(addr, rtmsg(unix.NLMSG_NOOP, 0, 1))
		}
		if s.groups>>groups != 0 {
			t.Errorf("groups %#x: there are %d", s.groups, groups)
		}
		n, err := s.Getsockopt(name, make([]byte, min(max(room, 0), 64)))
		if err == nil && n != 0 && n != 4 && n != 8 {
			t.Errorf("option %d: %d bytes", name, n)
		}
	})
}

package rxring_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

func TestDeviceIndexesCountUpFromTheFirst(t *testing.T) {
	for first, want := range map[int]int{0: 2, -1: 2, 1: 2, 2: 2, 1001: 1001} {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{FirstIndex: first})
		for i, name := range []string{"net0", "net1"} {
			d, err := ns.AddDevice(rxring.DeviceConfig{Name: name})
			if err != nil {
				t.Fatal(err)
			}
			if d.Index() != want+i {
				t.Errorf("FirstIndex %d: %s has index %d, want %d", first, name, d.Index(), want+i)
			}
		}
	}
}

func TestDevicesMayHaveAnotherDevicesIndex(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	var order []string
	for _, c := range []rxring.DeviceConfig{{Name: "far", Index: 77}, {Name: "near", Index: 3}, {Name: "next"}, {Name: "lo", Index: 1}} {
		if _, err := ns.AddDevice(c); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range ns.Devices() {
		order = append(order, fmt.Sprint(d.Name(), d.Index()))
	}
	if got := strings.Join(order, " "); got != "lo1 near3 far77 next78" {
		t.Errorf("devices %s, want them by index, and the next one behind all that were given", got)
	}
	for _, c := range []struct {
		index int
		want  error
		says  string
	}{
		{3, syscall.EEXIST, "index 3: want one that is not taken"},
		{-1, syscall.EINVAL, "index -1: want 1 to 1073741824"},
		{1<<30 + 1, syscall.EINVAL, "index 1073741825: want"},
	} {
		if _, err := ns.AddDevice(rxring.DeviceConfig{Name: "x", Index: c.index}); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("index %d: %v; want %v, %q", c.index, err, c.want, c.says)
		}
	}
}

func TestMaxLenIsTheMTUsOrMore(t *testing.T) {
	for _, c := range []struct {
		mtu, maxLen int
		want        int
		segments    bool
		says        string
	}{
		{mtu: 0, maxLen: 0, want: 1500},
		{mtu: 9000, maxLen: 0, want: 9000},
		{mtu: 9000, maxLen: 9000, want: 9000},
		{mtu: 1420, maxLen: 65535, want: 65535, segments: true},
		{mtu: 1420, maxLen: 524288, want: 524288, segments: true},
		{mtu: 0, maxLen: 1499, says: "MaxLen 1499: want 1500 (the MTU) to 524288 bytes, or 0 for the MTU"},
		{mtu: 0, maxLen: 524289, says: "MaxLen 524289: want 1500"},
		{mtu: 0, maxLen: -1, says: "MaxLen -1: want 1500"},
	} {
		d, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "x", MTU: c.mtu, MaxLen: c.maxLen})
		if c.says != "" {
			if !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("MaxLen %d: %v, want EINVAL and %q", c.maxLen, err, c.says)
			}
			continue
		}
		if err != nil {
			t.Error(err)
		} else if d.MaxLen() != c.want || d.Segments() != c.segments {
			t.Errorf("MTU %d, MaxLen %d: %d, segments: %v", c.mtu, c.maxLen, d.MaxLen(), d.Segments())
		}
	}
}

func TestDeviceConfigurationsThatLinuxRefuses(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "taken"})
	for _, c := range []struct {
		config rxring.DeviceConfig
		want   error
		says   string
	}{
		{rxring.DeviceConfig{}, syscall.EINVAL, `""`},
		{rxring.DeviceConfig{Name: "sixteen-letters-"}, syscall.EINVAL, "15 bytes"},
		{rxring.DeviceConfig{Name: "a b"}, syscall.EINVAL, "white space"},
		{rxring.DeviceConfig{Name: ".."}, syscall.EINVAL, `".."`},
		{rxring.DeviceConfig{Name: "taken"}, syscall.EEXIST, "taken"},
		{rxring.DeviceConfig{Name: "x", MTU: 67}, syscall.EINVAL, "68"},
		{rxring.DeviceConfig{Name: "x", MTU: 1<<19 + 1}, syscall.EINVAL, "MTU 524289: want 68 to 524288 bytes"},
		{rxring.DeviceConfig{Name: "x", Type: rxring.Loopback, MTU: 1 << 20}, syscall.EINVAL, "524288"},
		{rxring.DeviceConfig{Name: "x", HardwareAddr: [6]byte{1}}, syscall.EINVAL, "unicast"},
		{rxring.DeviceConfig{Name: "x", Prefixes: []netip.Prefix{{}}}, syscall.EINVAL, "invalid Prefix"},
		{rxring.DeviceConfig{Name: "x", Prefixes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/8")}}, syscall.EINVAL, "0.0.0.0/8"},
		{rxring.DeviceConfig{Name: "x", Prefixes: []netip.Prefix{netip.MustParsePrefix("ff02::1/64")}}, syscall.EINVAL, "unicast"},
		{rxring.DeviceConfig{Name: "x", Prefixes: []netip.Prefix{netip.MustParsePrefix("::ffff:1.2.3.4/104")}}, syscall.EINVAL, "::ffff:1.2.3.4"},
		{rxring.DeviceConfig{Name: "x", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8"), netip.MustParsePrefix("10.0.0.1/8")}}, syscall.EINVAL, "once"},
	} {
		if _, err := ns.AddDevice(c.config); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %v that says %q", c.config, err, c.want, c.says)
		}
	}
	d, ok := ns.DeviceByName("taken")
	if byIndex, ok2 := ns.DeviceByIndex(d.Index()); !ok || !ok2 || byIndex != d || len(ns.Devices()) != 1 {
		t.Error("the device is not found by name and index")
	}
	if _, ok := ns.DeviceByName("none"); ok {
		t.Error("a device was found that was never added")
	}
}

// The settings of a device change together or not at all, and what sockets may send follows.
func TestSettingsOfADeviceChange(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", MTU: 1500, MaxLen: 9000})
	addrs := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64")}
	rxtest.Must(t, dev.SetPrefixes(addrs))
	s := rxtest.OpenSender(t, ns, dev, rxring.SockRaw)
	for _, c := range []struct {
		mtu, maxLen         int
		wantMTU, wantMaxLen int
		says                string
	}{
		{1280, 0, 1280, 1280, ""},
		{67, 0, 1280, 1280, "device net0: MTU 67: want 68 to 524288 bytes"},
		{1600, 1500, 1280, 1280, "device net0: MaxLen 1500: want 1600 (the MTU) to 524288 bytes, or 0 for the MTU"},
		{1600, 60000, 1600, 60000, ""},
		{0, 0, 1500, 1500, ""},
		{65536, 0, 65536, 65536, ""},
	} {
		err := dev.SetMTU(c.mtu, c.maxLen)
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, syscall.EINVAL) || err.Error() != c.says) {
			t.Errorf("SetMTU(%d, %d): %v, want %q", c.mtu, c.maxLen, err, c.says)
		}
		if dev.MTU() != c.wantMTU || dev.MaxLen() != c.wantMaxLen || dev.Segments() != (c.wantMaxLen > c.wantMTU) {
			t.Errorf("SetMTU(%d, %d): MTU %d, MaxLen %d", c.mtu, c.maxLen, dev.MTU(), dev.MaxLen())
		}
		if _, err := s.Send(rxtest.Frame(14 + c.wantMTU)); err != nil {
			t.Errorf("MTU %d: a frame as long as that: %v", c.wantMTU, err)
		}
		if _, err := s.Send(rxtest.Frame(14 + c.wantMTU + 1)); !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("MTU %d: a longer frame: %v, want EMSGSIZE", c.wantMTU, err)
		}
	}
	if err := dev.SetPrefixes(append(addrs, addrs[0])); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "device net0: address 192.0.2.1/24: want a unicast") {
		t.Errorf("an address twice: %v", err)
	}
	if !slices.Equal(dev.Prefixes(), addrs) {
		t.Errorf("addresses %v, want %v", dev.Prefixes(), addrs)
	}
	rxtest.Must(t, dev.SetPrefixes(nil))
	if len(dev.Prefixes()) != 0 {
		t.Errorf("addresses %v, want none", dev.Prefixes())
	}
}

func TestRemovedDeviceIsGone(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	defer s.Close()
	rxtest.Must(t, ns.RemoveDevice(dev))
	if err := ns.RemoveDevice(dev); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("removed twice: %v, want %v", err, syscall.ENODEV)
	}
	dev.SetUp(true)
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if s.Readable() || dev.Up() || len(ns.Devices()) != 0 {
		t.Error("the device is still there")
	}
	again := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	if again.Index() == dev.Index() {
		t.Error("an index was given twice")
	}
	again.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if !s.Readable() {
		t.Error("a socket bound to all devices does not see the new one")
	}
	other := rxring.NewNamespace(rxring.NamespaceConfig{})
	if err := other.RemoveDevice(again); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("removed from another namespace: %v, want %v", err, syscall.ENODEV)
	}
}

// TestDevicesComeAndGoUnderManyHands is for the race detector: and in the end
// everything is counted, and nothing is left behind.
func TestDevicesComeAndGoUnderManyHands(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	const rounds = 300
	var wg sync.WaitGroup
	wg.Go(func() {
		for range rounds * 10 {
			dev.Deliver(&rxring.Packet{Data: rxtest.Frame(100)})
		}
	})
	wg.Go(func() {
		for i := range rounds {
			dev.SetUp(i%2 == 1)
		}
	})
	for range 2 {
		wg.Go(func() {
			for i := range rounds {
				s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
				rxtest.Must(t, err, s.BindDevice(dev, tpacket.ETHPIP))
				rxtest.Must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, rxtest.Mreq(dev.Index(), 1, 0)))
				if i%3 == 0 {
					rxtest.Must(t, s.JoinFanout(rxring.FanoutConfig{ID: 7}))
				}
				s.Events()
				s.Addr()
				s.Recv(make([]byte, 10), 0)
				rxtest.Must(t, s.Close())
			}
		})
	}
	wg.Wait()
	if dev.Promiscuous() || dev.HasListeners() {
		t.Errorf("promiscuous %v, watched %v with no socket left", dev.Promiscuous(), dev.HasListeners())
	}
	rxtest.Must(t, ns.RemoveDevice(dev))
}

// A namespace begins with lo, as in Linux. Its owner's list does not have it.
func TestEveryNamespaceHasLo(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	lo := ns.Loopback()
	byName, ok := ns.DeviceByName("lo")
	byIndex, ok2 := ns.DeviceByIndex(1)
	if !ok || !ok2 || byName != lo || byIndex != lo {
		t.Fatalf("lo: %v by name, %v by index: want %v", byName, byIndex, lo)
	}
	addrs := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}
	if lo.Name() != "lo" || lo.Index() != 1 || lo.Type() != rxring.Loopback || lo.MTU() != 65536 || lo.HardwareAddr() != [6]byte{} || !lo.Up() || !slices.Equal(lo.Prefixes(), addrs) {
		t.Errorf("lo: %s, index %d, type %d, MTU %d, % x, up %v, %v", lo.Name(), lo.Index(), lo.Type(), lo.MTU(), lo.HardwareAddr(), lo.Up(), lo.Prefixes())
	}
	if all := ns.Devices(); len(all) != 0 {
		t.Errorf("%d devices listed, though none was added", len(all))
	}
}

// A device named lo, or with its index, replaces the one that was there. Sockets see
// that one removed.
func TestOwnersLoReplacesTheFirst(t *testing.T) {
	for _, c := range []struct {
		config rxring.DeviceConfig
		index  int
	}{
		{rxring.DeviceConfig{Name: "lo", Type: rxring.Loopback}, 1},
		{rxring.DeviceConfig{Name: "lo"}, 2},
		{rxring.DeviceConfig{Name: "lo", Index: 7}, 7},
		{rxring.DeviceConfig{Name: "net0", Index: 1}, 1},
	} {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
		rxtest.Must(t, err, s.BindDevice(ns.Loopback(), 0))
		d := rxtest.AddDevice(t, ns, c.config)
		if d.Index() != c.index || ns.Loopback() != nil || len(ns.Devices()) != 1 {
			t.Errorf("%+v: index %d, want %d; the first is %v, %d devices", c.config, d.Index(), c.index, ns.Loopback(), len(ns.Devices()))
		}
		if _, err := s.Recv(nil, 0); s.Addr().Ifindex != -1 || !errors.Is(err, syscall.ENETDOWN) {
			t.Errorf("%+v: the socket is bound to %d, %v: want -1 and ENETDOWN", c.config, s.Addr().Ifindex, err)
		}
		if _, err := ns.AddDevice(c.config); !errors.Is(err, syscall.EEXIST) {
			t.Errorf("%+v twice: %v, want EEXIST", c.config, err)
		}
		rxtest.Must(t, s.Close())
	}
}

// With a transmit function a loopback device is what the function makes of it.
func TestTransmitFunctionOfALoopbackDevice(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	lo := ns.Loopback()
	sent := 0
	lo.SetTransmit(func(*rxring.Packet) error { sent++; return nil })
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err, s.BindDevice(lo, 0))
	defer s.Close()
	_, err = s.Send(make([]byte, 60))
	rxtest.Must(t, err)
	if _, err := s.Recv(make([]byte, 100), rxring.RecvFlags(0x40)); !errors.Is(err, syscall.EAGAIN) || sent != 1 {
		t.Errorf("%v, %d sent: want nothing to come back, and 1", err, sent)
	}
	lo.SetTransmit(nil)
	_, err = s.Send(make([]byte, 60))
	rxtest.Must(t, err)
	if m, err := s.Recv(make([]byte, 100), rxring.RecvFlags(0x40)); err != nil || m.From.Pkttype != tpacket.PacketHost {
		t.Errorf("%+v, %v: want the frame, for this host", m, err)
	}
}

// A device counts what passes it while a socket is attached, whichever way it came, and
// nothing before.
func TestDevicesCountWhatPasses(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	wants := func(what string, wantIn, wantOut rxring.Traffic) {
		t.Helper()
		if in, out := dev.Traffic(); in != wantIn || out != wantOut {
			t.Errorf("%s: in %+v, out %+v: want %+v, %+v", what, in, out, wantIn, wantOut)
		}
	}
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(64)})
	wants("without a socket", rxring.Traffic{}, rxring.Traffic{})

	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err, s.BindDevice(dev, 0))
	tagged := rxtest.Frame(70)
	copy(tagged[12:], []byte{0x81, 0, 0, 5, 8, 0})
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(64)})
	dev.Deliver(&rxring.Packet{Data: tagged})
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(64), Len: 1000})
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(64), Outgoing: true})
	wants("one by one", rxring.Traffic{Packets: 3, Bytes: 64 + 70 + 1000}, rxring.Traffic{Packets: 1, Bytes: 64})

	dev.DeliverBatch([]rxring.Packet{{Data: rxtest.Frame(60)}, {Data: rxtest.Frame(60), Outgoing: true}, {Data: tagged}, {Data: rxtest.Frame(5)}, {Data: rxtest.Frame(61)}})
	wants("in a batch", rxring.Traffic{Packets: 6, Bytes: 64 + 70 + 1000 + 60 + 70 + 61}, rxring.Traffic{Packets: 2, Bytes: 64 + 60})

	_, err = s.Send(rxtest.Frame(100))
	rxtest.Must(t, err)
	wants("sent", rxring.Traffic{Packets: 6, Bytes: 64 + 70 + 1000 + 60 + 70 + 61}, rxring.Traffic{Packets: 3, Bytes: 64 + 60 + 100})
	rxtest.Must(t, s.Close())
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(64)})
	wants("without a socket again", rxring.Traffic{Packets: 6, Bytes: 64 + 70 + 1000 + 60 + 70 + 61}, rxring.Traffic{Packets: 3, Bytes: 64 + 60 + 100})
}

// However many packets of whatever length several writers deliver: none is lost while
// counts are carried and read.
func TestDeviceCountsAreExact(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPARP) // which wants none of them
	rxtest.Must(t, err, s.BindDevice(dev, 0))
	defer s.Close()
	const writers, batches, n = 4, 10000, 32
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			ps := make([]rxring.Packet, n)
			for i := range ps {
				ps[i] = rxring.Packet{Data: rxtest.Frame(64), Len: 1 << 23}
			}
			for i := range batches {
				dev.DeliverBatch(ps)
				if i%1000 == 0 {
					dev.Traffic()
				}
			}
		})
	}
	wg.Wait()
	const packets = writers * batches * n
	if in, _ := dev.Traffic(); in != (rxring.Traffic{Packets: packets, Bytes: packets << 23}) {
		t.Errorf("%+v: want %d packets", in, packets)
	}
}

func TestEveryPacketOfferedIsCountedOnce(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, rd := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	rxtest.Must(t, s.AttachFilter([]cbpf.Instruction{
		{Op: 0x80},                       // ld len
		{Op: 0x25, Jt: 0, Jf: 1, K: 100}, // jgt #100
		{Op: 0x06, K: 0},                 // ret #0
		{Op: 0x06, K: 1 << 18},           // ret #262144
	}))
	for range 3 {
		dev.Deliver(&rxring.Packet{Data: rxtest.Frame(200)}) // filtered
	}
	dev.DeliverBatch([]rxring.Packet{{Data: rxtest.Frame(60)}, {Data: rxtest.Frame(61)}, {Data: rxtest.Frame(62)}, {Data: rxtest.Frame(63)}, {Data: rxtest.Frame(64)}, {Data: rxtest.Frame(65)}})
	want := ring.Totals{Filtered: 3, Captured: 4, Drops: ring.Drops{ring.Full: 2}}
	if got := s.Totals(); got != want || got.Offered() != 9 {
		t.Errorf("totals %+v: want %+v", got, want)
	}
	for i := range 4 {
		f := rxtest.Next(t, rd)
		if f.Len != 60+i || f.Status&tpacket.StatusLosing != 0 {
			t.Errorf("packet %d: %d bytes, status %#x", i, f.Len, f.Status)
		}
		f.Release()
	}
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if f := rxtest.Next(t, rd); f.Status&tpacket.StatusLosing == 0 {
		t.Error("no TP_STATUS_LOSING while drops are unread")
	} else {
		f.Release()
	}
	if st := s.Statistics(); st != (tpacket.Stats3{Packets: 7, Drops: 2}) {
		t.Errorf("statistics %+v, want 7 packets of which 2 drops", st)
	}
	dev.Deliver(&rxring.Packet{Data: rxtest.Frame(60)})
	if f := rxtest.Next(t, rd); f.Status&tpacket.StatusLosing != 0 {
		t.Error("TP_STATUS_LOSING after the drops were read")
	}
	var buf [8]byte
	n, err := s.Getsockopt(tpacket.SolPacket, tpacket.OptStatistics, buf[:])
	rxtest.Must(t, err)
	if st := tpacket.Parse[tpacket.Stats](buf[:n]); st != (tpacket.Stats{Packets: 1}) {
		t.Errorf("statistics %+v, want 1 packet", st)
	}
}

func TestMalformedPacketsAreDroppedAtEverySocket(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	eth := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "eth"})
	raw := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "raw", Type: rxring.RawIP})
	s, _ := rxtest.Open(t, ns, rxring.SockRaw, tpacket.V2, rxtest.SmallRing)
	eth.Deliver(&rxring.Packet{})
	eth.Deliver(&rxring.Packet{Data: make([]byte, 13), Rest: [][]byte{{1, 2, 3}}})
	raw.Deliver(&rxring.Packet{})
	raw.Deliver(&rxring.Packet{Data: []byte{0x12}})
	if eth.Malformed() != 2 || raw.Malformed() != 2 {
		t.Errorf("malformed %d and %d: want 2 and 2", eth.Malformed(), raw.Malformed())
	}
	if got, want := s.Totals(), (ring.Totals{Drops: ring.Drops{ring.Malformed: 4}}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if st := s.Statistics(); st != (tpacket.Stats3{Packets: 4, Drops: 4}) {
		t.Errorf("%+v, want 4 packets, all dropped", st)
	}
}

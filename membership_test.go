package rxring_test

import (
	"errors"
	"runtime"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

// TestDeviceHearsWhatItsSocketsAskFor: and delivers the rest all the same.
func TestDeviceHearsWhatItsSocketsAskFor(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", HardwareAddr: rxtest.OwnAddr})
	raw := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "tun0", Type: rxring.RawIP})
	everyone, group, stranger := [6]byte{255, 255, 255, 255, 255, 255}, [6]byte{1, 0, 0x5e, 0, 0, 0xfb}, [6]byte{2, 9}
	hears := func() (s string) {
		for name, addr := range map[string][6]byte{"u": rxtest.OwnAddr, "e": everyone, "g": group, "s": stranger} {
			if dev.AcceptsDst(addr) {
				s += name
			}
		}
		order := ""
		for _, c := range "uegs" {
			for _, d := range s {
				if c == d {
					order += string(c)
				}
			}
		}
		return order
	}
	s, err := ns.Socket(rxring.SockRaw, tpacket.ETHPAll)
	rxtest.Must(t, err)
	other, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	set := func(s *rxring.Socket, option int, typ, alen uint16, addr [6]byte) func() {
		return func() {
			rxtest.Must(t, s.Setsockopt(tpacket.SolPacket, option, rxtest.Mreq(dev.Index(), typ, alen, addr[:]...)))
		}
	}
	const add, drop = tpacket.OptAddMembership, tpacket.OptDropMembership
	for _, step := range []struct {
		what string
		do   func()
		want string
	}{
		{"at first", func() {}, "ue"},
		{"a group", set(s, add, 0, 6, group), "ueg"},
		{"the same again", set(s, add, 0, 6, group), "ueg"},
		{"and another socket", set(other, add, 0, 6, group), "ueg"},
		{"drop one", set(s, drop, 0, 6, group), "ueg"},
		{"drop the second", set(s, drop, 0, 6, group), "ueg"},
		{"drop one that is not there", set(s, drop, 0, 6, group), "ueg"},
		{"drop the other socket's", set(other, drop, 0, 6, group), "ue"},
		{"all groups", set(s, add, 2, 0, [6]byte{}), "ueg"},
		{"drop all groups", set(s, drop, 2, 0, [6]byte{}), "ue"},
		{"one more unicast address", set(s, add, 3, 6, stranger), "ues"},
		{"promiscuous", set(other, add, 1, 0, [6]byte{}), "uegs"},
		{"down", func() { dev.SetUp(false) }, ""},
		{"up", func() { dev.SetUp(true) }, "uegs"},
		{"closed", func() { rxtest.Must(t, other.Close()) }, "ues"},
	} {
		step.do()
		if got := hears(); got != step.want {
			t.Errorf("%s: hears %q, want %q of us, everyone, group, stranger", step.what, got, step.want)
		}
	}
	if !raw.AcceptsDst(stranger) {
		t.Error("a raw-IP device does not hear everything")
	}
	dev.Deliver(&rxring.Packet{Data: rxtest.TaggedFrame([6]byte{2, 7, 7}, 0x800, make([]byte, 20))})
	if m, err := s.Recv(make([]byte, 100), 0); err != nil || m.From.Pkttype != tpacket.PacketOtherHost {
		t.Errorf("a packet to another host: %+v, %v", m, err)
	}
}

func TestMembershipsOfASocketAreBounded(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	for i := range 1 << 14 {
		err = s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, rxtest.Mreq(dev.Index(), 9, 6, 1, 0, 0, 0, byte(i>>8), byte(i)))
		if err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOBUFS) {
		t.Errorf("%v, want %v", err, syscall.ENOBUFS)
	}
	rxtest.Must(t, s.Close())
}

// FuzzMemberships takes a program's bytes as memberships to add and drop: when
// the sockets are closed, nothing is left of them.
func FuzzMemberships(f *testing.F) {
	f.Add(rxtest.Mreq(2, 0, 6, rxtest.Group...), rxtest.Mreq(2, 1, 0), true)
	f.Add(rxtest.Mreq(2, 3, 6, 2, 0, 0, 0, 0, 9), rxtest.Mreq(2, 2, 6, 1), false)
	f.Add(rxtest.Mreq(3, 0, 0), rxtest.Mreq(2, 1, 32, make([]byte, 40)...), true)
	f.Fuzz(func(t *testing.T, one, two []byte, gone bool) {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", HardwareAddr: rxtest.OwnAddr})
		rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "tun0", Type: rxring.RawIP})
		a, err := ns.Socket(rxring.SockRaw, 0)
		rxtest.Must(t, err)
		b, err := ns.Socket(rxring.SockRaw, 0)
		rxtest.Must(t, err)
		set := func(s *rxring.Socket, option int, val []byte) {
			if err := s.Setsockopt(tpacket.SolPacket, option, val); err != nil && rxtest.Errno(err) == 0 {
				t.Errorf("%v has no errno", err)
			}
		}
		for range 2 {
			set(a, tpacket.OptAddMembership, one)
			set(b, tpacket.OptAddMembership, two)
			set(a, tpacket.OptDropMembership, two)
		}
		set(b, tpacket.OptDropMembership, two)
		if gone {
			rxtest.Must(t, ns.RemoveDevice(dev))
			set(a, tpacket.OptDropMembership, one)
		}
		rxtest.Must(t, a.Close(), b.Close())
		if dev.Promiscuous() || dev.AllMulticast() {
			t.Error("memberships are left")
		}
		for _, val := range [][]byte{one, two} {
			if len(val) >= 14 && [6]byte(val[8:14]) != rxtest.OwnAddr && [6]byte(val[8:14]) != [6]byte{255, 255, 255, 255, 255, 255} && dev.AcceptsDst([6]byte(val[8:14])) {
				t.Errorf("the device still hears % x", val[8:14])
			}
		}
	})
}

// A socket with as many memberships as it may have closes at one go: whoever else
// wants the namespace waits for that, and who watches the device is told of it.
func TestManyMembershipsEndAtOnce(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", HardwareAddr: rxtest.OwnAddr})
	s, err := ns.Socket(rxring.SockRaw, 0)
	rxtest.Must(t, err)
	const most = 8192
	add := func(i int) error {
		return s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, rxtest.Mreq(dev.Index(), 3, 6, 2, 0, 0, 0, byte(i>>8), byte(i)))
	}
	for i := range most {
		rxtest.Must(t, add(i))
	}
	if err := add(most); rxtest.Errno(err) != syscall.ENOBUFS {
		t.Errorf("%d memberships and one more: %v", most, err)
	}
	if n := len(dev.RxFilterAddrs()); n != 0 || !dev.Promiscuous() {
		t.Errorf("%d addresses, promiscuous %v", n, dev.Promiscuous())
	}
	told := 0
	dev.OnInterestChange(func() { told++ })
	told = 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	rxtest.Must(t, s.Close())
	runtime.ReadMemStats(&after)
	if n := len(dev.RxFilterAddrs()); n != 0 || dev.Promiscuous() {
		t.Errorf("%d addresses are left, promiscuous %v", n, dev.Promiscuous())
	}
	if told < 1 || told > 8 {
		t.Errorf("told %d times: want one or a few", told)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes allocated for it", n)
	}
}

// A device lists few addresses. Past them it takes everything of their kind, as a card does
// whose filter is full, and lists them again when they are few. Who watches it is told of what
// changes for a source, and of nothing else.
func TestManyAddressesAreAll(t *testing.T) {
	const few = 32
	for _, c := range []struct {
		kind  string
		typ   uint16
		first byte
		many  func(*rxring.Device) bool
		other func(*rxring.Device) bool
	}{
		{"groups", 0, 1, (*rxring.Device).AllMulticast, (*rxring.Device).Promiscuous},
		{"unicast", 3, 2, (*rxring.Device).Promiscuous, (*rxring.Device).AllMulticast},
	} {
		t.Run(c.kind, func(t *testing.T) {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", HardwareAddr: rxtest.OwnAddr})
			s, err := ns.Socket(rxring.SockRaw, 0)
			rxtest.Must(t, err)
			defer s.Close()
			told := 0
			dev.OnInterestChange(func() { told++ })
			told = 0
			addr := func(i int) [6]byte { return [6]byte{c.first, 9, 0, 0, byte(i >> 8), byte(i)} }
			set := func(option, i int) {
				a := addr(i)
				rxtest.Must(t, s.Setsockopt(tpacket.SolPacket, option, rxtest.Mreq(dev.Index(), c.typ, 6, a[:]...)))
			}
			want := func(n, tellings int) {
				t.Helper()
				many := n > few
				listed := n
				if many {
					listed = 0
				}
				if got := len(dev.RxFilterAddrs()); got != listed || c.many(dev) != many || c.other(dev) {
					t.Errorf("%d joined: %d addresses, all %v, all of the other kind %v", n, got, c.many(dev), c.other(dev))
				}
				if told != tellings {
					t.Errorf("%d joined: told %d times, want %d", n, told, tellings)
				}
				if promiscuous, all := dev.Memberships(); promiscuous+all != 0 {
					t.Errorf("%d joined: counted as %d and %d of another type", n, promiscuous, all)
				}
				if got := dev.AcceptsDst(addr(9999)); got != many {
					t.Errorf("%d joined: a stranger is heard: %v", n, got)
				}
				if n > 0 && !dev.AcceptsDst(addr(0)) {
					t.Errorf("%d joined: the first is not heard", n)
				}
			}
			for i := range 100 {
				want(i, min(i, few+1))
				set(tpacket.OptAddMembership, i)
			}
			told = 0
			for i := 99; i >= 0; i-- {
				set(tpacket.OptDropMembership, i)
				want(i, max(0, few-i+1))
			}
		})
	}
}

// The sockets of a user have so many memberships together, whoever of them has had them.
func TestMembershipsOfAUserAreBounded(t *testing.T) {
	const most = 64
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	gone := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net1"})
	account := rxring.NewAccount()
	open := func(a *rxring.Account) *rxring.Socket {
		s, err := ns.SocketFor(&rxring.Grant{Account: a}, rxring.SockRaw, 0)
		rxtest.Must(t, err)
		t.Cleanup(func() { s.Close() })
		return s
	}
	add := func(s *rxring.Socket, d *rxring.Device, typ uint16, i int) error {
		return s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, rxtest.Mreq(d.Index(), typ, 6, 1, 0, 0, 0, 0, byte(i)))
	}
	full := func(s *rxring.Socket) {
		t.Helper()
		for _, typ := range []uint16{0, 1, 2, 3, 77} {
			if err := add(s, dev, typ, 200); rxtest.Errno(err) != syscall.ENOBUFS {
				t.Errorf("one more of type %d: %v, want %v", typ, err, syscall.ENOBUFS)
			} else {
				t.Log(err)
			}
		}
	}
	a, b := open(account), open(account)
	for i := range most / 2 {
		rxtest.Must(t, add(a, dev, 0, i), add(b, gone, 3, i))
		rxtest.Must(t, add(a, dev, 0, i)) // again: no other one
		if err := a.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, rxtest.Mreq(dev.Index(), 0, 4, 1, 0, 0, 0)); rxtest.Errno(err) != syscall.EINVAL {
			t.Errorf("an address that is too short: %v", err)
		}
	}
	full(a)
	full(open(account))
	rxtest.Must(t, add(open(rxring.NewAccount()), dev, 0, 1)) // somebody else
	rxtest.Must(t, ns.RemoveDevice(gone))                     // and half of them are gone
	c := open(account)
	for i := range most / 2 {
		rxtest.Must(t, add(c, dev, 0, i))
	}
	full(b)
	rxtest.Must(t, c.SetGrant(&rxring.Grant{})) // which keeps what it has
	full(b)
	rxtest.Must(t, c.Close())
	rxtest.Must(t, add(b, dev, 0, 1))
}

// Who may not make a card promiscuous is told that it is, and it is not.
func TestAGrantWithoutPromiscuousMode(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := rxtest.AddDevice(t, ns, rxring.DeviceConfig{Name: "net0", HardwareAddr: rxtest.OwnAddr})
	no := &rxring.Grant{NoPromiscuous: true}
	s, err := ns.SocketFor(no, rxring.SockRaw, 0)
	rxtest.Must(t, err)
	add := func(typ uint16, addr ...byte) {
		rxtest.Must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, rxtest.Mreq(dev.Index(), typ, 6, addr...)))
	}
	add(0, 1, 0, 0, 0, 0, 9)
	add(0, 2, 0, 0, 0, 0, 9) // said to be a group
	add(1, 1, 0, 0, 0, 0, 9)
	add(2, 0, 0, 0, 0, 0, 0)
	add(3, 2, 0, 0, 0, 0, 8)
	want := func(what string, promiscuous, groups bool, addresses int) {
		t.Helper()
		if dev.Promiscuous() != promiscuous || dev.AllMulticast() != groups || len(dev.RxFilterAddrs()) != addresses {
			t.Errorf("%s: promiscuous %v, all groups %v, addresses % x", what, dev.Promiscuous(), dev.AllMulticast(), dev.RxFilterAddrs())
		}
	}
	want("without", false, true, 1)
	rxtest.Must(t, s.SetGrant(&rxring.Grant{}))
	want("granted later", true, true, 3)
	rxtest.Must(t, s.SetGrant(no))
	want("and no more", false, true, 1)
	rxtest.Must(t, s.Setsockopt(tpacket.SolPacket, tpacket.OptDropMembership, rxtest.Mreq(dev.Index(), 1, 6, 1, 0, 0, 0, 0, 9)))
	rxtest.Must(t, s.SetGrant(&rxring.Grant{}))
	want("dropped meanwhile", false, true, 3)
	rxtest.Must(t, s.Close())
	want("closed", false, false, 0)
}

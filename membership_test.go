package rxring_test

import (
	"encoding/binary"
	"errors"
	"runtime"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/tpacket"
)

// mreq is a struct packet_mreq, or a longer one when addr is longer.
func mreq(ifindex int, typ, alen uint16, addr ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(cInt(int32(ifindex)), typ)
	b = binary.NativeEndian.AppendUint16(b, alen)
	return append(b, append(addr, make([]byte, max(0, 8-len(addr)))...)...)
}

// TestDeviceHearsWhatItsSocketsAskFor: and delivers the rest all the same.
func TestDeviceHearsWhatItsSocketsAskFor(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := addDevice(t, ns, rxring.DeviceConfig{Name: "net0", Addr: ourAddr})
	raw := addDevice(t, ns, rxring.DeviceConfig{Name: "tun0", Type: rxring.RawIP})
	everyone, group, stranger := [6]byte{255, 255, 255, 255, 255, 255}, [6]byte{1, 0, 0x5e, 0, 0, 0xfb}, [6]byte{2, 9}
	hears := func() (s string) {
		for name, addr := range map[string][6]byte{"u": ourAddr, "e": everyone, "g": group, "s": stranger} {
			if dev.Hears(addr) {
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
	must(t, err)
	other, err := ns.Socket(rxring.SockRaw, 0)
	must(t, err)
	set := func(s *rxring.Socket, option int, typ, alen uint16, addr [6]byte) func() {
		return func() { must(t, s.Setsockopt(tpacket.SolPacket, option, mreq(dev.Index(), typ, alen, addr[:]...))) }
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
		{"closed", func() { must(t, other.Close()) }, "ues"},
	} {
		step.do()
		if got := hears(); got != step.want {
			t.Errorf("%s: hears %q, want %q of us, everyone, group, stranger", step.what, got, step.want)
		}
	}
	if !raw.Hears(stranger) {
		t.Error("a raw-IP device does not hear everything")
	}
	dev.Deliver(&rxring.Packet{Data: taggedFrame([6]byte{2, 7, 7}, 0x800, make([]byte, 20))})
	if m, err := s.Recv(make([]byte, 100), 0); err != nil || m.From.Pkttype != tpacket.PacketOtherHost {
		t.Errorf("a packet to somebody else: %+v, %v", m, err)
	}
}

func TestMembershipsOfASocketAreBounded(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := addDevice(t, ns, rxring.DeviceConfig{Name: "net0"})
	s, err := ns.Socket(rxring.SockRaw, 0)
	must(t, err)
	for i := range 1 << 14 {
		err = s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, mreq(dev.Index(), 9, 6, 1, 0, 0, 0, byte(i>>8), byte(i)))
		if err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOBUFS) {
		t.Errorf("%v, want %v", err, syscall.ENOBUFS)
	}
	must(t, s.Close())
}

// FuzzMemberships takes a program's bytes as memberships to add and drop: when
// the sockets are closed, nothing is left of them.
func FuzzMemberships(f *testing.F) {
	f.Add(mreq(2, 0, 6, group1...), mreq(2, 1, 0), true)
	f.Add(mreq(2, 3, 6, 2, 0, 0, 0, 0, 9), mreq(2, 2, 6, 1), false)
	f.Add(mreq(3, 0, 0), mreq(2, 1, 32, make([]byte, 40)...), true)
	f.Fuzz(func(t *testing.T, one, two []byte, gone bool) {
		ns := rxring.NewNamespace(rxring.NamespaceConfig{})
		dev := addDevice(t, ns, rxring.DeviceConfig{Name: "net0", Addr: ourAddr})
		addDevice(t, ns, rxring.DeviceConfig{Name: "tun0", Type: rxring.RawIP})
		a, err := ns.Socket(rxring.SockRaw, 0)
		must(t, err)
		b, err := ns.Socket(rxring.SockRaw, 0)
		must(t, err)
		set := func(s *rxring.Socket, option int, val []byte) {
			if err := s.Setsockopt(tpacket.SolPacket, option, val); err != nil && errnoOf(err) == 0 {
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
			must(t, ns.RemoveDevice(dev))
			set(a, tpacket.OptDropMembership, one)
		}
		must(t, a.Close(), b.Close())
		if dev.Promiscuous() || dev.AllMulticast() {
			t.Error("memberships are left")
		}
		for _, val := range [][]byte{one, two} {
			if len(val) >= 14 && [6]byte(val[8:14]) != ourAddr && [6]byte(val[8:14]) != [6]byte{255, 255, 255, 255, 255, 255} && dev.Hears([6]byte(val[8:14])) {
				t.Errorf("the device still hears % x", val[8:14])
			}
		}
	})
}

var group1 = []byte{1, 0, 0x5e, 0, 0, 0xfb}

// A socket with as many memberships as it may have closes at one go: whoever else
// wants the namespace waits for that, and who watches the device is told of it.
func TestManyMembershipsEndAtOnce(t *testing.T) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	dev := addDevice(t, ns, rxring.DeviceConfig{Name: "net0", Addr: ourAddr})
	s, err := ns.Socket(rxring.SockRaw, 0)
	must(t, err)
	const most = 8192
	add := func(i int) error {
		return s.Setsockopt(tpacket.SolPacket, tpacket.OptAddMembership, mreq(dev.Index(), 3, 6, 2, 0, 0, 0, byte(i>>8), byte(i)))
	}
	for i := range most {
		must(t, add(i))
	}
	if err := add(most); errnoOf(err) != syscall.ENOBUFS {
		t.Errorf("%d memberships and one more: %v", most, err)
	}
	if n := len(dev.Addresses()); n != most {
		t.Errorf("%d addresses", n)
	}
	told := 0
	dev.SetWatch(func() { told++ })
	told = 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	must(t, s.Close())
	runtime.ReadMemStats(&after)
	if n := len(dev.Addresses()); n != 0 {
		t.Errorf("%d addresses are left", n)
	}
	if told < 1 || told > 8 {
		t.Errorf("told %d times: want one or a few", told)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes allocated for it", n)
	}
}

package rxring_test

import (
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/rxtest"
	"github.com/rxring/rxring/tpacket"
)

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

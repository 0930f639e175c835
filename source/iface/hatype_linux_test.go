package iface

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/tpacket"
)

// tunOf makes a TUN device that says it is of a hardware type, and is up. Its wire
// takes packets behind a struct tun_pi, which names their protocol.
func tunOf(name string, hatype int) (wire int, err error) {
	if wire, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
		return -1, err
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return wire, err
	}
	ifr.SetUint16(unix.IFF_TUN)
	if err := unix.IoctlIfreq(wire, unix.TUNSETIFF, ifr); err != nil {
		return wire, fmt.Errorf("TUNSETIFF: %w", err)
	}
	if err := unix.IoctlSetInt(wire, unix.TUNSETLINK, hatype); err != nil {
		return wire, fmt.Errorf("TUNSETLINK %d: %w", hatype, err)
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return wire, err
	}
	return wire, netlink.LinkSetUp(l)
}

// stand has a device stand for an interface of the near namespace.
func (w *wire) stand(t *testing.T, name, as string) *wire {
	t.Helper()
	var c rxring.DeviceConfig
	must(t, w.near.Do(func() (err error) {
		c, err = Describe(name)
		return err
	}))
	c.Name, c.Index = as, 0
	dev, err := w.dev.Namespace().AddDevice(c)
	must(t, err)
	t.Cleanup(func() { dev.Namespace().RemoveDevice(dev) })
	of := *w
	of.t, of.dev = t, dev
	return &of
}

// Interfaces of any hardware type show what a kernel socket shows of them: the type,
// each packet's protocol and its bytes, coming and leaving.
func TestInterfacesOfEveryHardwareType(t *testing.T) {
	need.Time(t, "it makes an interface of each type")
	kringtest.NeedDevices(t)
	withWire(t, func(w *wire) {
		for _, hatype := range []int{
			tpacket.ARPHRDNone, tpacket.ARPHRDPPP, tpacket.ARPHRDRawIP, tpacket.ARPHRDTunnel, tpacket.ARPHRDSit, tpacket.ARPHRDIPGRE,
			tpacket.ARPHRDCAN, tpacket.ARPHRDIEEE80211Radiotap, tpacket.ARPHRDIEEE802154, tpacket.ARPHRDNetlink, tpacket.ARPHRDInfiniband, 4711,
		} {
			t.Run(fmt.Sprint(hatype), func(t *testing.T) {
				name := fmt.Sprintf("type%d", hatype)
				wire, sender, index := -1, -1, 0
				must(t, w.near.Do(func() (err error) {
					if wire, err = tunOf(name, hatype); err != nil {
						return err
					}
					if sender, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
						return err
					}
					l, err := lookUp(name)
					index = l.index
					return err
				}))
				defer unix.Close(wire)
				defer unix.Close(sender)
				of := w.stand(t, name, name)
				if of.dev.Type() != rxring.DeviceType(hatype) {
					t.Fatalf("a device of type %d", of.dev.Type())
				}
				s := of.start(Config{Retire: time.Millisecond})
				defer s.Close()
				kernel, ours := of.kernel(whole), of.ours(whole)
				defer ours.Close()
				defer kernel.Close()
				ip := append([]byte{0x45, 0, 0, 20}, make([]byte, 60)...)
				for _, p := range []struct {
					protocol uint16
					data     []byte
				}{
					{tpacket.ETHPIP, ip},
					{tpacket.ETHPIPv6, append([]byte{0x60}, ip...)},
					{0x88f7, ip[2:]}, // neither, and does not look like it
					{tpacket.ETHPCAN, ip[:16]},
				} {
					_, err := unix.Write(wire, append(binary.BigEndian.AppendUint16([]byte{0, 0}, p.protocol), p.data...))
					must(t, err)
				}
				must(t, unix.Sendto(sender, ip, 0, &unix.SockaddrLinklayer{Protocol: tpacket.Htons(0x1234), Ifindex: index}))
				got, want := read(t, ours, 0), read(t, kernel, 0)
				if len(want) < 5 {
					t.Fatalf("the kernel's own are %d packets, want at least 5", len(want))
				}
				for i := range got {
					got[i].from.Ifindex = int32(index) // the device has another
				}
				same(t, got, want)
			})
		}
	})
}

// On lo each packet goes out and comes in. libpcap leaves out what goes out, but only
// of a device that is called lo: one of another name does it itself.
func TestLoopbackUnderAnotherNameShowsPacketsOnce(t *testing.T) {
	withWire(t, func(w *wire) {
		conn := -1
		must(t, w.near.Do(func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(lo); err != nil {
				return err
			}
			conn, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			return err
		}))
		defer unix.Close(conn)
		of := w.stand(t, "lo", "loop0")
		s := of.start(Config{Name: "lo", Retire: time.Millisecond})
		defer s.Close()
		ours := of.ours(whole)
		defer ours.Close()
		for range 3 {
			must(t, unix.Sendto(conn, []byte("rxring"), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}}))
		}
		n := 0
		for _, p := range read(t, ours, 0) {
			if p.from.Pkttype == tpacket.PacketOutgoing {
				t.Errorf("%v goes out", p)
			}
			if p.len == 14+20+8+6 {
				n++
			}
		}
		if n != 3 {
			t.Errorf("%d packets, want each of 3 once", n)
		}
	})
}

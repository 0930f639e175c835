package iface

import (
	"encoding/binary"
	"fmt"
	"os/exec"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/need"
)

// TestSubscriptionReportsAVeth makes an interface in a network namespace, sets it up and down
// and removes it.
func TestSubscriptionReportsAVeth(t *testing.T) {
	withWire(t, func(w *wire) {
		var s subscription
		var index int
		var err error
		must(t, w.near.Do(func() error {
			if s, err = subscribe(); err != nil {
				return err
			}
			veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "a0"}, PeerName: "b0"}
			if err := netlink.LinkAdd(veth); err != nil {
				return err
			}
			l, err := netlink.LinkByName("a0")
			if err != nil {
				return err
			}
			index = l.Attrs().Index
			return nil
		}))
		defer s.end()
		// expect reads until an update is as wanted: the kernel reports other changes, too.
		expect := func(want linkUpdate) {
			t.Helper()
			for u := range s.updates {
				if u == want {
					return
				}
				if u.index == index && u.removed {
					break
				}
			}
			t.Fatalf("no update %+v", want)
		}
		change := func(f func(netlink.Link) error) {
			t.Helper()
			must(t, w.near.Do(func() error {
				l, err := netlink.LinkByIndex(index)
				if err != nil {
					return err
				}
				return f(l)
			}))
		}
		change(netlink.LinkSetUp)
		expect(linkUpdate{index: index, up: true})
		change(netlink.LinkSetDown)
		expect(linkUpdate{index: index})
		change(netlink.LinkDel)
		expect(linkUpdate{index: index, removed: true})
	})
}

// TestDeviceFollowsTheInterfacesLengths changes the MTU and the offloads of a veth, while the
// device has readers and while it has none.
func TestDeviceFollowsTheInterfacesLengths(t *testing.T) {
	need.Program(t, "ethtool")
	withWire(t, func(w *wire) {
		s := w.start(Config{Immediate: true})
		expect := func(mtu, maxLen int) {
			t.Helper()
			eventually(t, fmt.Sprintf("MTU %d, MaxLen %d", mtu, maxLen), func() bool { return w.dev.MTU() == mtu && w.dev.MaxLen() == maxLen })
		}
		segments := w.dev.MaxLen()
		if segments <= 9000 {
			t.Fatalf("MaxLen %d: a veth has segments", segments)
		}
		mtu := func(n int) { w.link(func(l netlink.Link) error { return netlink.LinkSetMTU(l, n) }) }
		mtu(1280)
		expect(1280, segments)
		reader := w.bound(0x88b5, 64)
		mtu(9000)
		expect(9000, segments)
		w.comes(frame(900))
		eventually(t, "a packet", func() bool { return reader.Totals().Captured == 1 })
		w.offloads(false)
		expect(9000, 9000)
		w.offloads(true)
		expect(9000, segments)
		must(t, reader.Close())
		must(t, s.Close())
		mtu(1500)
		if w.dev.MTU() != 9000 {
			t.Error("the device follows the interface after Close")
		}
	})
}

// offloads sets near0's that make packets longer than its MTU.
func (w *wire) offloads(on bool) {
	w.t.Helper()
	state := map[bool]string{false: "off", true: "on"}[on]
	must(w.t, w.near.Do(func() error {
		out, err := exec.Command("ethtool", "-K", "near0", "tso", state, "gso", state, "gro", state).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ethtool: %w: %s", err, out)
		}
		return nil
	}))
}

// message returns an rtnetlink message with a struct ifinfomsg of size bytes.
func message(typ uint16, family byte, index, flags uint32, size int) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b, uint32(unix.SizeofNlMsghdr+size))
	binary.NativeEndian.PutUint16(b[4:], typ)
	b[16] = family
	binary.NativeEndian.PutUint32(b[20:], index)
	binary.NativeEndian.PutUint32(b[24:], flags)
	return b[:unix.SizeofNlMsghdr+size]
}

func TestLinkMessagesAreParsed(t *testing.T) {
	whole := unix.SizeofIfInfomsg
	for _, tt := range []struct {
		name     string
		datagram []byte
		want     []linkUpdate
		fails    bool
	}{
		{name: "empty"},
		{name: "up", datagram: message(unix.RTM_NEWLINK, unix.AF_UNSPEC, 7, unix.IFF_UP|unix.IFF_RUNNING, whole), want: []linkUpdate{{index: 7, up: true}}},
		{
			name:     "two messages in a datagram",
			datagram: append(message(unix.RTM_NEWLINK, unix.AF_UNSPEC, 7, unix.IFF_RUNNING, whole), message(unix.RTM_DELLINK, unix.AF_UNSPEC, 8, 0, whole)...),
			want:     []linkUpdate{{index: 7}, {index: 8, removed: true}},
		},
		{name: "a port leaves a bridge", datagram: message(unix.RTM_DELLINK, unix.AF_BRIDGE, 7, 0, whole)},
		{name: "another message", datagram: message(unix.RTM_NEWADDR, unix.AF_UNSPEC, 7, 0, whole)},
		{name: "a short ifinfomsg", datagram: message(unix.RTM_NEWLINK, unix.AF_UNSPEC, 7, 0, 8)},
		{name: "a truncated datagram", datagram: message(unix.RTM_NEWLINK, unix.AF_UNSPEC, 7, 0, whole)[:24], fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseLinkUpdates(tt.datagram)
			if !slices.Equal(got, tt.want) || (err != nil) != tt.fails {
				t.Errorf("%+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

package capture_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
)

// A TAP device filters no addresses, so a membership has no effect there: source/iface's
// tests check which memberships a kernel device got.
func TestMembershipsOfADevice(t *testing.T) {
	w := newOurs(t)
	h := w.open(t, quick(false))
	stranger := [6]byte{2, 9, 9, 9, 9, 9}
	for _, m := range []capture.Membership{
		{Type: capture.Promiscuous},
		{Type: capture.Unicast, Addr: stranger},
	} {
		for range 2 {
			if err := h.Join(m); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if !w.dev.AcceptsDst(stranger) {
				t.Errorf("%+v: not received", m)
			}
			if err := h.Leave(m); err != nil {
				t.Fatal(err)
			}
		}
		if w.dev.AcceptsDst(stranger) {
			t.Errorf("%+v: received without a membership", m)
		}
	}
	if err := h.Join(capture.Membership{Type: capture.AllMulticast}); err != nil || !w.dev.AllMulticast() {
		t.Errorf("all groups: %v", err)
	}
	h.Close()
	if w.dev.AllMulticast() {
		t.Error("all groups after Close")
	}
	if err := h.Join(capture.Membership{Type: capture.Promiscuous}); !errors.Is(err, rxring.ErrClosed) {
		t.Errorf("join after Close: %v", err)
	}
}

// TestKernelVnetHeader checks the bytes that the kernel stores before a packet, also after
// Release.
func TestKernelVnetHeader(t *testing.T) {
	kringtest.Run(t, func(ns *kring.Namespace) {
		w := newTap(t, ns)
		for _, immediate := range []bool{false, true} {
			c := quick(immediate)
			c.VnetHeader = true
			h := w.open(t, c)
			want := packet(400)
			// A checksum to be computed from byte 34 on, and put 6 bytes behind it.
			if err := w.dev.ReceiveOffloaded(kring.VnetHdr{0: 1, 6: 34, 8: 6}, want); err != nil {
				t.Fatal(err)
			}
			f, err := h.Next(soon(t))
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Headroom(10); string(got) != "\x01\x00\x00\x00\x00\x00\x22\x00\x06\x00" || string(f.Data) != string(want) {
				t.Errorf("immediate=%v: % x before a packet of %d bytes", immediate, got, len(f.Data))
			}
			if f.Headroom(1<<30) != nil {
				t.Errorf("immediate=%v: bytes from before the ring", immediate)
			}
			g := *f
			g.Release()
			if g.Headroom(10) != nil {
				t.Errorf("immediate=%v: bytes before no packet", immediate)
			}
		}
	})
}

func TestKernelFanoutID(t *testing.T) {
	kringtest.Run(t, func(ns *kring.Namespace) { testFanoutID(t, newTap(t, ns)) })
}

func TestFanoutID(t *testing.T) { testFanoutID(t, newOurs(t)) }

// testFanoutID creates two groups with unique IDs, and joins one by its ID. A socket
// receives no packet before it is a member.
func testFanoutID(t *testing.T, w wire) {
	c := quick(false)
	if id, err := w.open(t, c).FanoutID(); id != 0 || err != nil {
		t.Errorf("in no group: %d, %v", id, err)
	}
	c.Fanout = &rxring.FanoutConfig{Mode: rxring.FanoutLB, Flags: rxring.FanoutFlagUniqueID}
	var ids [2]uint16
	for i := range ids {
		h := w.open(t, c)
		var err error
		if ids[i], err = h.FanoutID(); err != nil {
			t.Fatal(err)
		}
	}
	if ids[0] == ids[1] {
		t.Errorf("two groups of number %d", ids[0])
	}
	c.Fanout = &rxring.FanoutConfig{Mode: rxring.FanoutLB, ID: ids[1]}
	h := w.open(t, c)
	if id, err := h.FanoutID(); id != ids[1] || err != nil {
		t.Errorf("joined %d, is in %d: %v", ids[1], id, err)
	}
	for i := range 4 {
		w.receive(t, packet(i))
	}
	for range 2 {
		if _, err := h.Next(soon(t)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIncompatibleOptions(t *testing.T) {
	w := newOurs(t)
	for says, c := range map[string]capture.Config{
		"VnetHeader true: want Cooked false": {VnetHeader: true, Cooked: true},
		"Hash true: want Immediate false":    {Hash: true, Immediate: true},
	} {
		if _, err := w.tryOpen(c); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

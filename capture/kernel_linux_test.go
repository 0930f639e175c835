package capture_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/kring/kringtest"
	"github.com/rxring/rxring/internal/need"
)

// tap is a TAP device of the kernel's, in a namespace of the test's own.
type tap struct {
	ns  *kring.Namespace
	dev *kring.Device
}

func (w tap) tryOpen(c capture.Config) (h *capture.Handle, err error) {
	err = w.ns.Do(func() error {
		h, err = capture.Open(w.dev.Name, c)
		return err
	})
	return h, err
}

func (w tap) open(t testing.TB, c capture.Config) *capture.Handle {
	t.Helper()
	return opened(t, w, c)
}

func (w tap) receive(t testing.TB, packet []byte) {
	if err := w.dev.Receive(packet); err != nil {
		t.Error(err)
	}
}

func newTap(t *testing.T, ns *kring.Namespace) tap {
	t.Helper()
	kringtest.NeedDevices(t)
	dev, err := ns.TAP("tap0", 10, [6]byte{2, 0, 0, 0, 0, 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	return tap{ns, dev}
}

func TestKernel(t *testing.T) {
	need.Time(t, "it captures from the kernel in several ways")
	kringtest.Run(t, func(ns *kring.Namespace) { testWire(t, newTap(t, ns)) })
}

func TestKernelErrors(t *testing.T) {
	kringtest.Run(t, func(ns *kring.Namespace) {
		w := newTap(t, ns)
		before := descriptors(t)
		open := func(name string) error {
			return ns.Do(func() error {
				_, err := capture.Open(name, capture.Config{})
				return err
			})
		}
		if err := open("nosuch0"); !errors.Is(err, syscall.ENODEV) || !strings.Contains(err.Error(), "interface nosuch0") {
			t.Errorf("no such interface: %v", err)
		}
		if err := open("a-name-that-is-too-long"); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "want a name of 1 to 15 bytes") {
			t.Errorf("too long a name: %v", err)
		}
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors, %d before", after, before)
		}

		// The device goes down during a read.
		h := w.open(t, quick(false))
		down := make(chan error)
		time.AfterFunc(10*time.Millisecond, func() { down <- w.dev.SetUp(false) })
		if _, err := h.Next(soon(t)); !errors.Is(err, syscall.ENETDOWN) {
			t.Errorf("device down: %v", err)
		}
		if err := <-down; err != nil {
			t.Fatal(err)
		}
		// And up again: after the one error, reading continues.
		if err := w.dev.SetUp(true); err != nil {
			t.Fatal(err)
		}
		w.receive(t, packet(12))
		p, err := h.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		check(t, p, 12)
		h.Close()
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors, %d before", after, before)
		}
	})
}

func TestAllInterfaces(t *testing.T) {
	kringtest.Run(t, func(ns *kring.Namespace) {
		w := newTap(t, ns)
		var h *capture.Handle
		err := ns.Do(func() (err error) {
			c := quick(false)
			c.Cooked, c.Promiscuous = true, true
			h, err = capture.Open("", c)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		w.receive(t, packet(4))
		p, err := h.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if int(p.From.Ifindex) != w.dev.Index || h.Hatype() != 0 {
			t.Errorf("from %+v, hardware type %d", p.From, h.Hatype())
		}
	})
}

func TestOpenWithoutPrivilege(t *testing.T) {
	if os.Geteuid() == 0 {
		need.Skip(t, need.Inapplicable, "root has the privilege that this test must lack")
	}
	if _, err := capture.Open("lo", capture.Config{}); !errors.Is(err, syscall.EPERM) || !strings.Contains(err.Error(), "CAP_NET_RAW") {
		t.Error(err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

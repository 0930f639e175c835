package capture_test

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/ring"
)

// attached is a device of a namespace that a server offers.
type attached struct {
	ours
	server *attach.Server
	client *attach.Client
}

func newAttached(t testing.TB) attached {
	t.Helper()
	w := attached{ours: newOurs(t)}
	path := filepath.Join(t.TempDir(), "rxring.sock")
	var err error
	if w.server, err = attach.Listen(path, attach.Config{Namespace: w.dev.Namespace()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.server.Close() })
	if w.client, err = attach.Dial(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.client.Close() })
	return w
}

func (w attached) tryOpen(c capture.Config) (*capture.Handle, error) {
	return capture.OpenAttached(w.client, w.dev.Name(), c)
}

func (w attached) open(t testing.TB, c capture.Config) *capture.Handle {
	t.Helper()
	return opened(t, w, c)
}

func TestAttached(t *testing.T) {
	need.Time(t, "it captures in several ways")
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("wire", func(t *testing.T) {
		w := newAttached(t)
		testWire(t, w)
		w.client.Close()
		if w.dev.HasListeners() {
			t.Error("the device still has sockets")
		}
	})
}

func TestAttachedErrors(t *testing.T) {
	w := newAttached(t)
	before := descriptors(t)
	for want, err := range map[string]error{
		"capture: device net7: there is no such device: there is net0": second(capture.OpenAttached(w.client, "net7", capture.Config{})),
		"Snaplen -1: want":       second(w.tryOpen(capture.Config{Snaplen: -1})),
		"Grant: want none":       second(w.tryOpen(capture.Config{Grant: new(rxring.Grant)})),
		"net0: fanout group 3: ": second(w.tryOpen(capture.Config{Fanout: &rxring.FanoutConfig{ID: 3, Mode: 99}})),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	if _, err := capture.OpenAttached(w.client, "net7", capture.Config{}); !errors.Is(err, syscall.ENODEV) {
		t.Error(err)
	}
	if w.dev.HasListeners() {
		t.Error("a capture that failed left a socket")
	}
	h := w.open(t, quick(false))
	h.Close()
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	w.client.Close()
	if _, err := w.tryOpen(capture.Config{}); err == nil {
		t.Error("a device of a closed client")
	}
}

func second(_ *capture.Handle, err error) error { return err }

func TestAttachedDeviceGoesDown(t *testing.T) {
	for _, immediate := range []bool{false, true} {
		w := newAttached(t)
		h := w.open(t, quick(immediate))
		time.AfterFunc(10*time.Millisecond, func() { w.dev.SetUp(false) })
		if _, err := h.Next(soon(t)); !errors.Is(err, syscall.ENETDOWN) {
			t.Fatalf("device down: %v", err)
		}
		// And up again: after the one error, reading continues.
		w.dev.SetUp(true)
		w.receive(t, packet(12))
		p, err := h.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		check(t, p, 12)
	}
}

func TestAttachedAllDevices(t *testing.T) {
	w := newAttached(t)
	other, err := w.dev.Namespace().AddDevice(rxring.DeviceConfig{Name: "net1"})
	if err != nil {
		t.Fatal(err)
	}
	c := quick(true)
	c.Promiscuous = true
	h, err := capture.OpenAttached(w.client, "", c)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for i, d := range []*rxring.Device{w.dev, other} {
		d.Deliver(&rxring.Packet{Data: packet(i)})
		p, err := h.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		check(t, p, i)
		if int(p.From.Ifindex) != d.Index() {
			t.Errorf("from %d, want %d", p.From.Ifindex, d.Index())
		}
	}
}

// TestAttachedServerEnds ends the server while there is more to read: what is in the
// ring, which is the reader's memory, is read, and then every read returns the end.
func TestAttachedServerEnds(t *testing.T) {
	for _, immediate := range []bool{false, true} {
		for _, batch := range []bool{false, true} {
			w := newAttached(t)
			h := w.open(t, quick(immediate))
			for i := range 10 {
				w.receive(t, packet(i))
			}
			p, err := h.Next(soon(t)) // the block has been handed over
			if err != nil {
				t.Fatal(err)
			}
			check(t, p, 0)
			if !p.Intact() {
				t.Error("not intact while the server runs")
			}
			w.server.Close()
			<-w.client.Done()
			if !p.Intact() {
				t.Error("not intact though the reader has its memory mapped")
			}
			for i := 1; i < 10; i++ {
				p, err := h.Next(soon(t))
				if err != nil && !immediate {
					break // its block was not yet handed over
				}
				if err != nil {
					t.Fatal(err)
				}
				check(t, p, i)
			}
			read := func() error {
				_, err := h.Next(soon(t))
				return err
			}
			if batch {
				read = func() error {
					_, err := h.ReadBatch(soon(t), make([]ring.Frame, 5))
					return err
				}
			}
			for range 12 {
				if err := read(); !errors.Is(err, syscall.ENETDOWN) || !strings.Contains(err.Error(), "rxring.sock") {
					t.Fatalf("after the server ended: %v", err)
				}
			}
			if err := h.SetFilter(nil); !errors.Is(err, syscall.ENETDOWN) {
				t.Errorf("filter: %v", err)
			}
			if err := h.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if err := read(); !errors.Is(err, capture.ErrClosed) {
				t.Errorf("reading a closed handle: %v", err)
			}
		}
	}

	w := newAttached(t)
	h := w.open(t, quick(true))
	time.AfterFunc(10*time.Millisecond, func() { w.server.Close() })
	if _, err := h.Next(soon(t)); !errors.Is(err, syscall.ENETDOWN) {
		t.Errorf("server closed during a read: %v", err)
	}

	// The client is closed during a read.
	w2 := newAttached(t)
	h = w2.open(t, quick(true))
	time.AfterFunc(10*time.Millisecond, func() { w2.client.Close() })
	if _, err := h.Next(soon(t)); !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.ENETDOWN) {
		t.Errorf("client closed during a read: %v", err)
	}
}

func TestReadingAttachedAllocatesNothing(t *testing.T) {
	const n = 1000
	for _, immediate := range []bool{false, true} {
		w := newAttached(t)
		h := w.open(t, capture.Config{Immediate: immediate, Retire: time.Millisecond, Buffer: 64 << 20, Snaplen: 256})
		p := rxring.Packet{Data: packet(10), Timestamp: 1}
		ctx := t.Context()
		fill := func() {
			for range n {
				w.dev.Deliver(&p)
			}
		}
		next := func() {
			if _, err := h.Next(ctx); err != nil {
				t.Fatal(err)
			}
		}
		// A busy reader does not sleep: packets are ready.
		fill()
		next()
		if !immediate {
			time.Sleep(5 * time.Millisecond) // the last block is retired, too
		}
		if got := testing.AllocsPerRun(n-2, next); got != 0 { // which runs once more
			t.Errorf("immediate %v: %v allocations a packet", immediate, got)
		}
	}
}

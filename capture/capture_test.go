package capture_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// wire is a device that a test sends packets to.
type wire interface {
	open(t testing.TB, c capture.Config) *capture.Handle
	tryOpen(c capture.Config) (*capture.Handle, error)
	receive(t testing.TB, packet []byte) // a packet comes in
}

// ours is a device of a namespace in this program.
type ours struct{ dev *rxring.Device }

func newOurs(t testing.TB) ours {
	t.Helper()
	dev, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(rxring.DeviceConfig{Name: "net0"})
	if err != nil {
		t.Fatal(err)
	}
	return ours{dev}
}

func (w ours) tryOpen(c capture.Config) (*capture.Handle, error) { return capture.OpenDevice(w.dev, c) }

func (w ours) open(t testing.TB, c capture.Config) *capture.Handle {
	t.Helper()
	return opened(t, w, c)
}

func (w ours) receive(_ testing.TB, packet []byte) { w.dev.Deliver(&rxring.Packet{Data: packet}) }

func opened(t testing.TB, w wire, c capture.Config) *capture.Handle {
	t.Helper()
	h, err := w.tryOpen(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// packet n has a broadcast address, and n%1000 bytes behind number and header.
func packet(n int) []byte {
	b := make([]byte, 14+4+n%1000)
	for i := range b {
		b[i] = byte(n + i)
	}
	copy(b, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x07\x88\xb5")
	binary.BigEndian.PutUint32(b[14:], uint32(n))
	return b
}

func check(t testing.TB, p *ring.Frame, n int) {
	t.Helper()
	if want := packet(n); string(p.Data) != string(want) || p.Len != len(want) {
		t.Fatalf("packet %d: %d of %d bytes, want %d: % x", n, len(p.Data), p.Len, len(want), p.Data[:min(len(p.Data), 32)])
	}
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// quick retires blocks after a millisecond.
func quick(immediate bool) capture.Config {
	return capture.Config{Immediate: immediate, Retire: time.Millisecond, Protocol: 0x88b5}
}

// testWire runs the tests that apply to every device.
func testWire(t *testing.T, w wire) {
	for _, immediate := range []bool{false, true} {
		t.Run(fmt.Sprintf("immediate=%v", immediate), func(t *testing.T) {
			t.Run("every packet in order", func(t *testing.T) { testOrder(t, w, quick(immediate)) })
			t.Run("batches", func(t *testing.T) { testBatches(t, w, quick(immediate)) })
			t.Run("filter and snaplen", func(t *testing.T) { testFilter(t, w, quick(immediate)) })
			t.Run("deadlines and contexts", func(t *testing.T) { testDeadlines(t, w, quick(immediate)) })
			t.Run("close while reading", func(t *testing.T) { testClose(t, w, quick(immediate)) })
			t.Run("statistics", func(t *testing.T) { testStatistics(t, w, quick(immediate)) })
			t.Run("fanout", func(t *testing.T) { testFanout(t, w, quick(immediate)) })
			t.Run("cooked", func(t *testing.T) { testCooked(t, w, quick(immediate)) })
		})
	}
}

func testOrder(t *testing.T, w wire, c capture.Config) {
	h := w.open(t, c)
	const n = 3000
	read := send(t, w, n)
	i := 0
	for p, err := range h.Packets(soon(t)) {
		if err != nil {
			t.Fatal(err)
		}
		check(t, p, i)
		if i++; i == n {
			break
		}
		<-read
	}
	if got := h.Hatype(); got != tpacket.ARPHRDEther {
		t.Errorf("hardware type %d", got)
	}
}

// send sends packets 0 to n-1, never many more than have been taken out of the
// channel, and pauses now and then, so that the reader sleeps. On a busy machine each
// packet may have a block of its own, and quick's ring has eight.
func send(t testing.TB, w wire, n int) <-chan struct{} {
	window := make(chan struct{}, 6)
	var sender sync.WaitGroup
	t.Cleanup(sender.Wait) // before the device is closed
	sender.Go(func() {
		for i := range n {
			select {
			case window <- struct{}{}:
			case <-t.Context().Done():
				return
			}
			w.receive(t, packet(i))
			if i%50 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	})
	return window
}

func testBatches(t *testing.T, w wire, c capture.Config) {
	h := w.open(t, c)
	const n = 500
	read := send(t, w, n)
	frames := make([]ring.Frame, 4) // fewer than may wait
	before, wg := new(sync.WaitGroup), new(sync.WaitGroup)
	for i := 0; i < n; before, wg = wg, new(sync.WaitGroup) {
		got, err := h.ReadBatch(soon(t), frames)
		if err != nil || got == 0 {
			t.Fatalf("%d packets, %v", got, err)
		}
		for _, f := range frames[:got] {
			check(t, &f, i)
			i++
			wg.Go(func() { // in any order, from any goroutine
				f.Release()
				<-read // the sender does not overrun goroutines that have not run yet
			})
		}
		before.Wait() // nor does the ring come round to a block that one of them has
	}
	before.Wait()
	if n, err := h.ReadBatch(soon(t), nil); n != 0 || err != nil {
		t.Errorf("a batch of none: %d, %v", n, err)
	}
}

// only accepts packets of more than n bytes.
func only(n uint32) []cbpf.Instruction {
	return []cbpf.Instruction{
		{Op: 0x80},              // A = length
		{Op: 0x25, K: n, Jf: 1}, // A > n?
		{Op: 0x06, K: 0xffffffff},
		{Op: 0x06, K: 0},
	}
}

func testFilter(t *testing.T, w wire, c capture.Config) {
	c.Filter, c.Snaplen = only(18+100), 60
	h := w.open(t, c)
	next := func(n int) {
		t.Helper()
		p, err := h.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if want := packet(n); string(p.Data) != string(want[:60]) || p.Len != len(want) {
			t.Fatalf("%d of %d bytes, want 60 of %d", len(p.Data), p.Len, len(want))
		}
	}
	for _, n := range []int{5, 100, 101, 900} {
		w.receive(t, packet(n))
	}
	next(101)
	next(900)
	// The snaplen stays with every filter, and with none.
	if err := h.SetFilter(only(18 + 200)); err != nil {
		t.Fatal(err)
	}
	w.receive(t, packet(200))
	w.receive(t, packet(201))
	next(201)
	if err := h.SetFilter(nil); err != nil {
		t.Fatal(err)
	}
	w.receive(t, packet(77))
	next(77)
	if err := h.SetFilter([]cbpf.Instruction{{Op: 0xffff}}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a bad filter: %v", err)
	}
}

func testDeadlines(t *testing.T, w wire, c capture.Config) {
	h := w.open(t, c)
	read := func(ctx context.Context) error {
		_, err := h.Next(ctx)
		return err
	}
	if err := h.SetDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := read(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past a deadline: %v", err)
	}
	h.SetDeadline(time.Now().Add(20 * time.Millisecond))
	if err := read(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("at a deadline: %v", err)
	}
	// A deadline that is brought forward during a wait.
	h.SetDeadline(time.Now().Add(time.Hour))
	time.AfterFunc(10*time.Millisecond, func() { h.SetDeadline(time.Now()) })
	if err := read(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline brought forward: %v", err)
	}
	h.SetDeadline(time.Time{})

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ends: %v", err)
	}
	if err := read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	// What was past does not stay.
	time.AfterFunc(10*time.Millisecond, func() { w.receive(t, packet(3)) })
	if err := read(soon(t)); err != nil {
		t.Errorf("after all that: %v", err)
	}
	// A packet that is there is had, whatever the deadline.
	w.receive(t, packet(4))
	for h.SetDeadline(time.Now().Add(-1)); ; time.Sleep(time.Millisecond) {
		if err := read(t.Context()); err == nil {
			break
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	// A context that ends while there is always more ends a loop, too.
	h.SetDeadline(time.Time{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				w.receive(t, packet(1))
			}
		}
	})
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	var last error
	n := 0
	for _, err := range h.Packets(ctx) {
		if n++; n == 1000 {
			cancel()
		}
		last = err
	}
	close(stop)
	wg.Wait()
	if !errors.Is(last, context.Canceled) || n > 2000 {
		t.Errorf("a loop of %d packets ended with %v", n, last)
	}
}

func testClose(t *testing.T, w wire, c capture.Config) {
	for i := range 20 {
		h := w.open(t, c)
		var wg sync.WaitGroup
		wg.Go(func() { // some are caught asleep, some reading
			for p, err := range h.Packets(t.Context()) {
				if err != nil {
					t.Error(err)
				} else if len(p.Data) > 0 {
					_ = p.Data[len(p.Data)-1]
				}
			}
		})
		for n := range i * 3 {
			w.receive(t, packet(n))
		}
		if i%2 == 0 {
			time.Sleep(time.Millisecond)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if _, err := h.Next(t.Context()); !errors.Is(err, capture.ErrClosed) {
			t.Fatalf("next of a closed handle: %v", err)
		}
		if _, err := h.ReadBatch(t.Context(), make([]ring.Frame, 1)); !errors.Is(err, capture.ErrClosed) {
			t.Fatalf("a batch of a closed handle: %v", err)
		}
		if err := h.Close(); !errors.Is(err, capture.ErrClosed) {
			t.Fatalf("close again: %v", err)
		}
	}
	// A packet may be held past it.
	h := w.open(t, c)
	w.receive(t, packet(9))
	p, err := h.Next(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	_ = p.Data[0]
	p.Release()
}

func testStatistics(t *testing.T, w wire, c capture.Config) {
	c.Buffer = 1 // the least: two blocks
	h := w.open(t, c)
	const n = 2000
	for i := range n {
		w.receive(t, packet(i|512))
	}
	got := uint64(0)
	h.SetDeadline(time.Now().Add(200 * time.Millisecond))
	for _, err := range h.Packets(t.Context()) {
		if err != nil {
			break
		}
		got++
	}
	for range 2 { // the second time adds nothing
		s, err := h.Stats()
		if err != nil || s.Packets != n || s.Drops != n-got || s.Drops == 0 || (s.Freezes > 0) == c.Immediate {
			t.Errorf("read %d of %d: %+v, %v", got, n, s, err)
		}
	}
	h.Close()
	if s, err := h.Stats(); s.Packets != n || err != nil {
		t.Errorf("after close: %+v, %v", s, err)
	}
}

func testFanout(t *testing.T, w wire, c capture.Config) {
	c.Fanout = &rxring.FanoutConfig{ID: 77, Mode: rxring.FanoutLB}
	a, b := w.open(t, c), w.open(t, c)
	for i := range 10 {
		w.receive(t, packet(i))
	}
	for _, h := range []*capture.Handle{a, b} {
		for range 5 {
			if _, err := h.Next(soon(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.Fanout = &rxring.FanoutConfig{ID: 77, Mode: rxring.FanoutHash}
	if _, err := w.tryOpen(c); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "fanout group 77") {
		t.Errorf("another mode: %v", err)
	}
}

func testCooked(t *testing.T, w wire, c capture.Config) {
	c.Cooked, c.Promiscuous, c.IgnoreOutgoing = true, true, true
	h := w.open(t, c)
	w.receive(t, packet(30))
	p, err := h.Next(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := packet(30)[14:]; string(p.Data) != string(want) || p.From.Protocol != tpacket.Htons(0x88b5) || p.From.Pkttype != tpacket.PacketBroadcast {
		t.Errorf("% x from %+v", p.Data, p.From)
	}
}

func TestDevice(t *testing.T) { testWire(t, newOurs(t)) }

func TestConfigErrors(t *testing.T) {
	w := newOurs(t)
	for want, c := range map[string]capture.Config{
		"Snaplen 262145: want 1 to 262144":     {Snaplen: 262145},
		"Snaplen -1: want":                     {Snaplen: -1},
		"Buffer -5: want 1 to 1073741824":      {Buffer: -5},
		"Retire 1.5ms: want whole millisecond": {Retire: 1500 * time.Microsecond},
		"Retire -1ms: want":                    {Retire: -time.Millisecond},
		"Filter: ":                             {Filter: []cbpf.Instruction{{Op: 0x99}}},
		"net0: fanout group 3: ":               {Fanout: &rxring.FanoutConfig{ID: 3, Mode: 99}},
	} {
		h, err := w.tryOpen(c)
		if h != nil || !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want EINVAL, %q", err, want)
		}
	}
	if w.dev.HasListeners() {
		t.Error("a capture that failed left a socket")
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	for _, immediate := range []bool{false, true} {
		w := newOurs(t)
		h := w.open(t, capture.Config{Immediate: immediate, Retire: time.Millisecond, Buffer: 16 << 20})
		p := rxring.Packet{Data: packet(10), Timestamp: 1}
		ctx := t.Context()
		next := func() {
			if _, err := h.Next(ctx); err != nil {
				t.Fatal(err)
			}
		}
		w.dev.Deliver(&p)
		next() // asleep once: what that takes is made
		n := testing.AllocsPerRun(500, func() {
			w.dev.Deliver(&p)
			next()
		})
		if n != 0 {
			t.Errorf("immediate %v: %v allocations a packet", immediate, n)
		}
	}
}

// A read returns ENETDOWN once when the device goes down, after the packets that are ready, and
// continues when it is up again; it returns it once when the device is removed, too.
func TestDeviceGoesDown(t *testing.T) {
	for _, immediate := range []bool{false, true} {
		w := newOurs(t)
		h := w.open(t, quick(immediate))
		w.receive(t, packet(11))
		for !h.Ready() {
			time.Sleep(time.Millisecond)
		}
		w.dev.SetUp(false)
		for want := range 2 {
			if _, err := h.Next(soon(t)); (err != nil) != (want == 1) || want == 1 && !errors.Is(err, syscall.ENETDOWN) {
				t.Fatalf("read %d: %v", want, err)
			}
		}
		h.SetDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := h.Next(soon(t)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the error is returned again: %v", err)
		}
		h.SetDeadline(time.Time{})
		w.dev.SetUp(true)
		w.receive(t, packet(12))
		if _, err := h.Next(soon(t)); err != nil {
			t.Error(err)
		}
		if err := w.dev.Namespace().RemoveDevice(w.dev); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Next(soon(t)); !errors.Is(err, syscall.ENETDOWN) {
			t.Errorf("device removed: %v", err)
		}
	}
}

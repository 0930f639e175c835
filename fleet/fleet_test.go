package fleet_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/fleet/hub"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/ring"
)

func TestMain(m *testing.M) {
	if role, ok := roles[os.Getenv(roleVariable)]; ok {
		if err := role(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("os/signal.signal_recv"))
}

const (
	// lease does not end in a test, even on a busy machine.
	lease = 2 * time.Minute
	// shortLease is that of tests that see what happens after it.
	shortLease = time.Second
)

func startHub(t testing.TB, listen string) *hub.Hub {
	t.Helper()
	h, err := hub.Start(hub.Config{Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func dial(t testing.TB, url string) *nats.Conn {
	t.Helper()
	nc, err := fleet.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func newDevice(t testing.TB, c rxring.DeviceConfig) *rxring.Device {
	t.Helper()
	d, err := rxring.NewNamespace(rxring.NamespaceConfig{}).AddDevice(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func ship(t testing.TB, nc *nats.Conn, far *rxring.Device, c fleet.ShipConfig) *fleet.Shipper {
	t.Helper()
	if c.Lease == 0 {
		c.Lease = lease
	}
	s, err := fleet.Ship(nc, far.Namespace(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// reading is a reader with its one device, and the errors that it reported.
type reading struct {
	*fleet.Reader
	dev *rxring.Device

	mu     sync.Mutex
	failed []string
}

func read(t testing.TB, nc *nats.Conn, c fleet.ReaderConfig) *reading {
	t.Helper()
	hosts, err := fleet.Discover(t.Context(), nc, c.Query)
	if err != nil {
		t.Fatal(err)
	}
	r := new(reading)
	c.Failed = func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.failed = append(r.failed, err.Error())
	}
	if c.Namespace == nil {
		c.Namespace = rxring.NewNamespace(rxring.NamespaceConfig{})
	}
	if r.Reader, err = fleet.NewReader(nc, hosts, c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	r.dev = r.Devices()[0]
	return r
}

// scene is a device of a host, read through a hub.
type scene struct {
	hub     *hub.Hub
	far     *rxring.Device
	shipper *fleet.Shipper
	reader  *reading
}

func newScene(t testing.TB, d rxring.DeviceConfig, s fleet.ShipConfig, r fleet.ReaderConfig) *scene {
	t.Helper()
	c := &scene{hub: startHub(t, "127.0.0.1:0"), far: newDevice(t, d)}
	s.Host = "web-1.example"
	c.shipper = ship(t, dial(t, c.hub.URL()), c.far, s)
	c.reader = read(t, dial(t, c.hub.URL()), r)
	return c
}

var eth0 = rxring.DeviceConfig{Name: "eth0", MTU: 1500}

// frame n has n in it, and n%1000 bytes more.
func frame(n int) []byte {
	b := append([]byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x07\x88\xb5"), make([]byte, 46+n%1000)...)
	binary.BigEndian.PutUint32(b[14:], uint32(n))
	return b
}

func send(far *rxring.Device, from, to int) {
	for n := from; n < to; n++ {
		far.Deliver(&rxring.Packet{Data: frame(n), Timestamp: 1e18 + int64(n)})
	}
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for ctx := soon(t); !ok(); time.Sleep(5 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("never: %s", what)
		}
	}
}

func open(t testing.TB, d *rxring.Device, c capture.Config) *capture.Handle {
	t.Helper()
	c.Promiscuous = true
	h, err := capture.OpenDevice(d, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// open opens a socket of the device here, and returns when the host has a session for it.
func (r *reading) open(t testing.TB, c capture.Config) *capture.Handle {
	t.Helper()
	h := open(t, r.dev, c)
	eventually(t, "a session", func() bool { return r.Counts().Sessions > 0 })
	return h
}

// Packets arrive in order, byte for byte and with their stamps, in each encoding.
func TestPacketsAreThoseOfTheHost(t *testing.T) {
	for _, c := range fleet.Compressions {
		t.Run(string(c), func(t *testing.T) {
			s := newScene(t, eth0, fleet.ShipConfig{}, fleet.ReaderConfig{Compress: c})
			h := s.reader.open(t, capture.Config{Buffer: 64 << 20})
			const n = 3000
			send(s.far, 0, n)
			for i := range n {
				p, err := h.Next(soon(t))
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(p.Data, frame(i)) || p.Time().UnixNano() != 1e18+int64(i) || p.Len != len(p.Data) {
					t.Fatalf("packet %d: % x at %v", i, p.Data[:20], p.Time())
				}
			}
			counts := s.reader.Counts()
			if counts.Packets != n || counts.Lost != (fleet.Losses{}) {
				t.Errorf("%+v", counts)
			}
			if shrinks := counts.Received < counts.Bytes/2; shrinks != (c != fleet.None) {
				t.Errorf("%d bytes of packets were %d bytes of batches", counts.Bytes, counts.Received)
			}
		})
	}
}

// Nothing is captured on the host while no socket is open here; then only what it wants is.
func TestInterestReachesTheHost(t *testing.T) {
	s := newScene(t, eth0, fleet.ShipConfig{}, fleet.ReaderConfig{})
	if s.far.HasListeners() {
		t.Fatal("the host captures though no socket is open")
	}
	h := s.reader.open(t, capture.Config{Filter: only(500), Snaplen: 100})
	eventually(t, "the filter at the host", func() bool { // usually when open returns: on a busy machine later
		programs, all := s.far.Filters()
		return !all && len(programs) == 1 && len(programs[0]) == 4 && programs[0][2].K == 100
	})
	send(s.far, 0, 1000)
	p, err := h.Next(soon(t))
	if err != nil || p.Len <= 500 || len(p.Data) != 100 {
		t.Fatalf("%d of %d bytes, %v", len(p.Data), p.Len, err)
	}
	eventually(t, "all matching packets", func() bool { return s.reader.Counts().Packets == 559 })
	if err := h.SetFilter(only(1000)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new filter at the host", func() bool {
		programs, _ := s.far.Filters()
		return len(programs) == 1 && programs[0][1].K == 1000
	})
	h.Close()
	eventually(t, "the host's tap closes", func() bool { return !s.far.HasListeners() })
}

// sum returns what a socket here got, and what it counts as lost.
func sum(t testing.TB, h *capture.Handle) (captured uint64, drops ring.Drops) {
	st, err := h.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return st.Packets - st.Drops, st.Reasons
}

// unread is for sockets that are counted and not read: on a slow machine, packets that arrive one by
// one must not use a block each.
var unread = capture.Config{Buffer: 64 << 20, Retire: time.Minute}

// whole waits until every packet that was sent is accounted for.
func whole(t testing.TB, h *capture.Handle, sent uint64) (captured uint64, drops ring.Drops) {
	t.Helper()
	for ctx := soon(t); ; time.Sleep(10 * time.Millisecond) {
		captured, drops = sum(t, h)
		if total := captured + drops.Sum(); total == sent {
			return captured, drops
		} else if total > sent || ctx.Err() != nil {
			t.Fatalf("%d packets captured and %d dropped (%v): %d were sent", captured, drops.Sum(), drops, sent)
		}
	}
}

func TestFullRingOfTheHostIsCounted(t *testing.T) {
	s := newScene(t, eth0, fleet.ShipConfig{Buffer: 1}, fleet.ReaderConfig{})
	h := s.reader.open(t, unread)
	const n = 30000
	send(s.far, 0, n)
	captured, drops := whole(t, h, n)
	lost := s.reader.Counts().Lost
	if lost.FarRing == 0 || drops[ring.Lost] != lost.FarRing || lost.Transit != 0 || lost.BeforeDevice != 0 {
		t.Errorf("captured %d, dropped %v, %+v", captured, drops, lost)
	}
}

func TestLossBeforeTheHostIsCounted(t *testing.T) {
	s := newScene(t, eth0, fleet.ShipConfig{}, fleet.ReaderConfig{})
	h := s.reader.open(t, capture.Config{})
	send(s.far, 0, 10)
	s.far.Lost(7)
	send(s.far, 10, 20)
	if captured, _ := whole(t, h, 27); captured != 20 || s.reader.Counts().Lost != (fleet.Losses{BeforeDevice: 7}) {
		t.Errorf("captured %d, %+v", captured, s.reader.Counts().Lost)
	}
}

// A reader that does not read drops in its own ring, and delays no other.
func TestSlowReaderHereIsCounted(t *testing.T) {
	s := newScene(t, eth0, fleet.ShipConfig{Buffer: 32 << 20}, fleet.ReaderConfig{})
	slow := s.reader.open(t, capture.Config{Buffer: 1})
	fast := s.reader.open(t, unread)
	const n = 15000
	send(s.far, 0, n)
	if captured, drops := whole(t, slow, n); drops[ring.Full] == 0 {
		t.Errorf("captured %d, dropped %v", captured, drops)
	}
	if captured, drops := whole(t, fast, n); captured != n {
		t.Errorf("captured %d, dropped %v", captured, drops)
	}
}

// While the hub is away, batches are lost in transit, and counted afterwards. The session goes on.
func TestHubRestartIsCounted(t *testing.T) {
	need.Time(t, "it runs a fleet for a second")
	s := newScene(t, eth0, fleet.ShipConfig{}, fleet.ReaderConfig{})
	h := s.reader.open(t, unread)
	send(s.far, 0, 1000)
	whole(t, h, 1000)
	var address string
	fmt.Sscanf(s.hub.URL(), "nats://%s", &address)
	s.hub.Close()
	for n := 1000; n < 2000; n += 100 {
		send(s.far, n, n+100)
		time.Sleep(20 * time.Millisecond)
	}
	startHub(t, address)
	n := 2000
	eventually(t, "a packet through the new hub", func() bool {
		send(s.far, n, n+1)
		n++
		time.Sleep(20 * time.Millisecond)
		return s.reader.Counts().Lost.Transit > 0
	})
	send(s.far, n, n+1000)
	n += 1000
	captured, drops := whole(t, h, uint64(n))
	if lost := s.reader.Counts(); lost.Lost.Transit < 900 || drops[ring.Lost] != lost.Lost.Transit || lost.Sessions != 1 {
		t.Errorf("captured %d of %d, dropped %v, %+v", captured, n, drops, lost)
	}
	if !s.reader.dev.Up() {
		t.Error("the device is down")
	}
}

// After two leases of silence the device is down; it is up again when the host is back.
func TestHostDiesAndReturns(t *testing.T) {
	need.Time(t, "it runs a fleet for a second")
	s := newScene(t, eth0, fleet.ShipConfig{}, fleet.ReaderConfig{})
	h := s.reader.open(t, capture.Config{})
	send(s.far, 0, 10)
	whole(t, h, 10)
	s.shipper.Close()
	eventually(t, "the device is down", func() bool { return !s.reader.dev.Up() })
	ship(t, dial(t, s.hub.URL()), s.far, fleet.ShipConfig{Host: "web-1.example"})
	eventually(t, "the device is up and the host captures", func() bool { return s.reader.dev.Up() && s.far.HasListeners() })
	send(s.far, 10, 20)
	eventually(t, "all packets", func() bool { return s.reader.Counts().Packets == 20 })
}

// Two readers that ask for the same share a session; one that changes what it wants leaves the
// other as it was, and neither misses a packet.
func TestReadersShareSessions(t *testing.T) {
	need.Time(t, "it runs a fleet for a second")
	s := newScene(t, eth0, fleet.ShipConfig{Buffer: 64 << 20}, fleet.ReaderConfig{})
	other := read(t, dial(t, s.hub.URL()), fleet.ReaderConfig{})
	a, b := s.reader.open(t, unread), other.open(t, unread)
	if n := sockets(s.far); n != 1 {
		t.Errorf("%d taps for two readers of the same", n)
	}
	const n = 20000
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		send(s.far, 0, n)
	}()
	if err := b.SetFilter(only(14)); err != nil { // all of them
		t.Fatal(err)
	}
	<-sent
	eventually(t, "two taps", func() bool { return sockets(s.far) == 2 })
	if captured, drops := whole(t, a, n); captured != n {
		t.Errorf("captured %d, dropped %v", captured, drops)
	}
	eventually(t, "every packet at the reader that changed", func() bool { captured, drops := sum(t, b); return captured+drops.Sum() >= n })
	captured, drops := sum(t, b)
	t.Logf("the reader that changed captured %d of %d, dropped %v", captured, n, drops)
}

func sockets(d *rxring.Device) (n int) {
	for range d.Sockets() {
		n++
	}
	return n
}

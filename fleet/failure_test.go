package fleet_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// outageLease is longer than an outage in which sessions go on. A reader learns what was lost at
// the latest with its next request to keep the session, after a third of it.
const outageLease = 30 * time.Second

// reported reports whether the reader reported an error with text in it.
func (r *reading) reported(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.failed, func(f string) bool { return strings.Contains(f, text) })
}

// program opens a socket of dev, as a program does that captures.
func program(t *testing.T, dev *rxring.Device) *rxring.Socket {
	s, err := dev.Namespace().Socket(rxring.SockRaw, 0)
	if err == nil {
		err = s.BindDevice(dev, tpacket.ETHPAll)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// isDown waits until dev is down, and the program has received ENETDOWN.
func isDown(t *testing.T, dev *rxring.Device, s *rxring.Socket) {
	t.Helper()
	eventually(t, "the device is down", func() bool { return !dev.Up() })
	eventually(t, "ENETDOWN", func() bool { // as in Linux, soon after the flag is cleared; until then packets
		_, err := s.Recv(nil, 0)
		return errors.Is(err, syscall.ENETDOWN)
	})
}

// The hub is away for longer than leases: the host's tap closes, the device here goes down. With
// the hub it is back, with a new session, and what the tap had when the hub died is lost in transit.
func TestHubDies(t *testing.T) {
	need.Time(t, "two leases pass")
	t.Parallel()
	s := newScene(t, eth0, fleet.ShipConfig{Lease: 3 * time.Second}, fleet.ReaderConfig{})
	h, reads := s.reader.open(t, capture.Config{}), program(t, s.reader.dev)
	send(s.far, 0, 100)
	whole(t, h, 100)
	address := strings.TrimPrefix(s.hub.URL(), "nats://")
	s.hub.Close()
	send(s.far, 100, 600)
	if !s.far.HasListeners() {
		need.Skip(t, need.System, "the machine is so slow that the lease has ended: nothing is known of the packets since")
	}
	eventually(t, "the host's tap is closed", func() bool { return !s.far.HasListeners() })
	isDown(t, s.reader.dev, reads)
	send(s.far, 600, 700) // no session captures
	startHub(t, address)
	eventually(t, "the device is up and the host captures", func() bool { return s.reader.dev.Up() && s.far.HasListeners() })
	send(s.far, 700, 800)
	captured, drops := whole(t, h, 700)
	if c := s.reader.Counts(); captured != 200 || drops[ring.Lost] != 500 || c.Lost != (fleet.Losses{Transit: 500}) || c.Sessions != 2 {
		t.Errorf("captured %d, dropped %v, %+v", captured, drops, c)
	}
}

// A host that vanishes is down here after two leases of silence. What was counted stands; that the
// rest is unknown is reported when the host is back.
func TestShipperVanishes(t *testing.T) {
	need.Time(t, "two leases pass")
	t.Parallel()
	hub, far := startHub(t, "127.0.0.1:0"), newDevice(t, eth0)
	nc := dial(t, hub.URL())
	ship(t, nc, far, fleet.ShipConfig{Host: "h", Lease: shortLease})
	r := read(t, dial(t, hub.URL()), fleet.ReaderConfig{})
	h, reads := r.open(t, capture.Config{}), program(t, r.dev)
	send(far, 0, 10)
	far.Lost(3)
	send(far, 10, 20)
	whole(t, h, 23)
	nc.Close() // it sends nothing more
	isDown(t, r.dev, reads)
	if !r.reported("it does not answer: the device is down until it does") {
		t.Errorf("reported: %q", r.failed)
	}
	back := newDevice(t, eth0) // of another process
	ship(t, dial(t, hub.URL()), back, fleet.ShipConfig{Host: "h"})
	eventually(t, "the device is up and the host captures", func() bool { return r.dev.Up() && back.HasListeners() })
	send(back, 20, 30)
	captured, drops := whole(t, h, 33)
	if captured != 30 || drops[ring.Lost] != 3 || r.Counts().Lost != (fleet.Losses{BeforeDevice: 3}) {
		t.Errorf("captured %d, dropped %v, %+v", captured, drops, r.Counts())
	}
	if !r.reported("what was lost after packet 20 of it is not counted") {
		t.Errorf("reported: %q", r.failed)
	}
}

// The host closes the tap of a reader that vanishes after a lease, and not that of others.
func TestReaderVanishes(t *testing.T) {
	need.Time(t, "a lease passes")
	t.Parallel()
	hub, far := startHub(t, "127.0.0.1:0"), newDevice(t, eth0)
	ship(t, dial(t, hub.URL()), far, fleet.ShipConfig{Host: "h", Lease: shortLease})
	nc := dial(t, hub.URL())
	vanishes, stays := read(t, nc, fleet.ReaderConfig{}), read(t, dial(t, hub.URL()), fleet.ReaderConfig{})
	vanishes.open(t, capture.Config{Filter: only(100)})
	h := stays.open(t, capture.Config{})
	eventually(t, "two taps", func() bool { return sockets(far) == 2 })
	nc.Close()
	eventually(t, "one tap", func() bool { return sockets(far) == 1 })
	send(far, 0, 10)
	whole(t, h, 10)
}

// cluster is three NATS servers that know each other.
func cluster(t *testing.T) (servers []*server.Server) {
	var routes []*url.URL
	for i := range 3 {
		o := &server.Options{
			ServerName: fmt.Sprint("s", i), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			NoLog: true, NoSigs: true, NoFastProducerStall: true,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: server.RANDOM_PORT},
			Routes:  routes,
		}
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		if !s.ReadyForConnections(time.Minute) {
			t.Fatalf("server %d does not start", i)
		}
		routes = append(routes, &url.URL{Scheme: "nats", Host: s.ClusterAddr().String()})
		servers = append(servers, s)
	}
	eventually(t, "a cluster", func() bool {
		return !slices.ContainsFunc(servers, func(s *server.Server) bool { return s.NumRoutes() < 2 })
	})
	return servers
}

// Of a cluster of three servers the host's is killed, then the reader's: the session goes on, and
// what was lost meanwhile is counted.
func TestClusterLosesServers(t *testing.T) {
	need.Time(t, "it runs servers for seconds")
	t.Parallel()
	servers := cluster(t)
	order := func(i ...int) string {
		var urls []string
		for _, i := range i {
			urls = append(urls, servers[i].ClientURL())
		}
		return strings.Join(urls, ",")
	}
	far := newDevice(t, eth0)
	there := dialed(t, order(0, 2, 1))
	ship(t, there, far, fleet.ShipConfig{Host: "h", Lease: outageLease})
	var here *nats.Conn
	eventually(t, "the servers know the host", func() bool {
		here = dialed(t, order(1, 2, 0))
		hosts, err := fleet.Discover(t.Context(), here, fleet.Query{})
		return err == nil && len(hosts) == 1
	})
	r := read(t, here, fleet.ReaderConfig{})
	h := r.open(t, unread)
	n := 0
	passes := func(what string) {
		t.Helper()
		before := r.Counts().Packets
		eventually(t, what, func() bool {
			send(far, n, n+10)
			n += 10
			time.Sleep(10 * time.Millisecond)
			return r.Counts().Packets > before
		})
	}
	passes("packets")
	for i, nc := range []*nats.Conn{there, here} {
		victim := slices.IndexFunc(servers, func(s *server.Server) bool { return s.ClientURL() == nc.ConnectedUrl() })
		servers[victim].Shutdown()
		send(far, n, n+1000) // some before a connection notices
		n += 1000
		eventually(t, fmt.Sprint("connection ", i, " moves"), func() bool {
			return nc.IsConnected() && nc.ConnectedUrl() != servers[victim].ClientURL()
		})
		passes(fmt.Sprint("packets after server ", victim, " was lost"))
	}
	captured, drops := whole(t, h, uint64(n))
	c := r.Counts()
	if c.Sessions != 1 || drops[ring.Lost] != c.Lost.Transit || c.Lost.FarRing+c.Lost.BeforeDevice > 0 || !r.dev.Up() {
		t.Errorf("captured %d of %d, dropped %v, %+v, up %v", captured, n, drops, c, r.dev.Up())
	}
}

// dialed connects to the first server of a list.
func dialed(t *testing.T, urls string) *nats.Conn {
	t.Helper()
	nc, err := fleet.Dial(urls, nats.DontRandomize())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// valve is a TCP proxy whose flow towards the client can be stopped.
type valve struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup
	shut     atomic.Bool

	mu   sync.Mutex
	open []net.Conn
}

func newValve(t *testing.T, target string) *valve {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{listener: l, target: target}
	v.wg.Go(v.run)
	t.Cleanup(func() {
		l.Close()
		v.shut.Store(false)
		v.mu.Lock()
		for _, c := range v.open {
			c.Close()
		}
		v.mu.Unlock()
		v.wg.Wait()
	})
	return v
}

func (v *valve) run() {
	for {
		client, err := v.listener.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", v.target)
		if err != nil {
			client.Close()
			continue
		}
		v.mu.Lock()
		v.open = append(v.open, client, up)
		v.mu.Unlock()
		v.wg.Go(func() { io.Copy(up, client); up.Close() })
		v.wg.Go(func() {
			defer client.Close()
			for b := make([]byte, 64<<10); ; {
				n, err := up.Read(b)
				for v.shut.Load() {
					time.Sleep(time.Millisecond)
				}
				if _, failed := client.Write(b[:n]); err != nil || failed != nil {
					return
				}
			}
		})
	}
}

// A reader to which the server cannot send loses its connection and what the server had for it:
// that is lost in transit. Another reader of the same session misses nothing.
func TestServerDropsASlowReader(t *testing.T) {
	need.Time(t, "it runs servers for seconds")
	t.Parallel()
	hub := startServer(t, server.Options{MaxPending: 8 << 20, NoFastProducerStall: true}) // a hub that keeps less
	far := newDevice(t, rxring.DeviceConfig{Name: "eth0", MTU: 1500, MaxLen: 65535})
	ship(t, dial(t, hub), far, fleet.ShipConfig{Host: "h", Buffer: 64 << 20, Lease: outageLease})
	v := newValve(t, strings.TrimPrefix(hub, "nats://"))
	config := fleet.ReaderConfig{Compress: fleet.None}
	slow, fast := read(t, dial(t, "nats://"+v.listener.Addr().String()), config), read(t, dial(t, hub), config)
	a, b := slow.open(t, unread), fast.open(t, unread)
	noise := make([]byte, 60000)
	random := rand.NewChaCha8([32]byte{})
	sendNoise := func(n int) {
		for range n {
			random.Read(noise[14:])
			far.Deliver(&rxring.Packet{Data: noise})
		}
	}
	v.shut.Store(true)
	n := 0
	for n < 450 { // 27 MB: more than the server keeps and the sockets hold
		sendNoise(30) // the fast reader never has too much to read
		n += 30
		whole(t, b, uint64(n))
	}
	v.shut.Store(false)
	eventually(t, "the slow reader is connected again", func() bool {
		sendNoise(1)
		n++
		time.Sleep(10 * time.Millisecond)
		return slow.Counts().Lost.Transit > 0
	})
	captured, drops := whole(t, a, uint64(n))
	if c := slow.Counts(); drops[ring.Lost] != c.Lost.Transit || c.Lost.FarRing+c.Lost.BeforeDevice > 0 || c.Sessions != 1 {
		t.Errorf("the slow reader captured %d of %d, dropped %v, %+v", captured, n, drops, c)
	}
	if captured, drops := whole(t, b, uint64(n)); captured != uint64(n) {
		t.Errorf("the other reader captured %d of %d, dropped %v", captured, n, drops)
	}
}

// Sockets with different filters share a session: a packet that some of them accept crosses once, and
// what none accepts does not. More than four filters are none.
func TestSeveralFiltersHere(t *testing.T) {
	t.Parallel()
	log := new(logBuffer)
	s := newScene(t, eth0, fleet.ShipConfig{Logger: slog.New(slog.NewTextHandler(log, nil))}, fleet.ReaderConfig{})
	var handles []*capture.Handle
	for _, f := range [][]cbpf.Instruction{only(500), only(900), short(200), only(500)} {
		handles = append(handles, s.reader.open(t, capture.Config{Filter: f}))
	}
	const most = 0xffff
	eventually(t, "the host has three filters", func() bool { return log.has("instructions=12") })
	if n := sockets(s.far); n != 1 {
		t.Errorf("%d taps", n)
	}
	send(s.far, 0, 1000)
	for i, want := range []uint64{559, 159, 141, 559} {
		if captured, drops := whole(t, handles[i], want); captured != want {
			t.Errorf("socket %d captured %d, dropped %v, want %d", i, captured, drops, want)
		}
	}
	if n := s.reader.Counts().Packets; n != 141+559 {
		t.Errorf("%d packets crossed: want %d", n, 141+559)
	}
	for n := range uint32(3) {
		s.reader.open(t, capture.Config{Filter: only(most + n)})
	}
	eventually(t, "the host has no filter", func() bool { return log.has("instructions=0") })
	send(s.far, 0, 1000)
	eventually(t, "every packet crosses", func() bool { return s.reader.Counts().Packets == 141+559+1000 })
	if captured, drops := whole(t, handles[0], 2*559); captured != 2*559 {
		t.Errorf("captured %d, dropped %v", captured, drops)
	}
}

// logBuffer is a log.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBuffer) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// A socket that stays captures every packet once, while others with other filters and snapshot lengths
// are opened and closed.
func TestFiltersChangeWhilePacketsArrive(t *testing.T) {
	need.Time(t, "packets arrive for a second")
	t.Parallel()
	s := newScene(t, eth0, fleet.ShipConfig{Buffer: 64 << 20}, fleet.ReaderConfig{})
	c := unread
	c.Filter = only(500)
	stays := s.reader.open(t, c)
	const n = 30000
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := 0; i < n; i += 100 {
			send(s.far, i, i+100)
			time.Sleep(time.Millisecond)
		}
	}()
	others := []capture.Config{{Filter: only(900), Snaplen: 20}, {Filter: short(200)}, {}, {Filter: only(14)}}
	for i := 0; ; i++ {
		h := s.reader.open(t, others[i%len(others)])
		if i%2 == 0 {
			if err := h.SetFilter(only(uint32(i))); err != nil {
				t.Fatal(err)
			}
		}
		h.Close()
		select {
		case <-sent:
		default:
			continue
		}
		break
	}
	want := uint64(n / 1000 * 559)
	if captured, drops := whole(t, stays, want); captured != want {
		t.Errorf("captured %d, dropped %v, want %d", captured, drops, want)
	}
	if c := s.reader.Counts(); c.Lost != (fleet.Losses{}) {
		t.Errorf("%+v", c)
	}
}

// A host whose filter refuses packets more slowly than they arrive still sends its counts: the device
// here stays up.
func TestFloodThatAFilterRefuses(t *testing.T) {
	need.Time(t, "two leases pass")
	t.Parallel()
	s := newScene(t, eth0, fleet.ShipConfig{Lease: shortLease, Buffer: 1 << 20}, fleet.ReaderConfig{})
	slow := slices.Concat(slices.Repeat([]cbpf.Instruction{{Op: cbpf.OpLdImm}}, 4000), only(500))
	s.reader.open(t, capture.Config{Filter: slow})
	refused := rxring.Packet{Data: frame(0)}
	for start := time.Now(); time.Since(start) < 5*shortLease/2; time.Sleep(100 * time.Microsecond) {
		for range 500 {
			s.far.Deliver(&refused)
		}
	}
	if c := s.reader.Counts(); !s.reader.dev.Up() || c.Sessions > 1 || c.Lost.FarRing == 0 {
		t.Errorf("up %v, %+v", s.reader.dev.Up(), c)
	}
}

// A session that the host refuses is an error of the reader, which asks again.
func TestRefusedSession(t *testing.T) {
	need.Time(t, "a reader asks again after a second")
	t.Parallel()
	s := newScene(t, eth0, fleet.ShipConfig{MaxSessions: 1}, fleet.ReaderConfig{})
	first := s.reader.open(t, capture.Config{})
	other := read(t, dial(t, s.hub.URL()), fleet.ReaderConfig{})
	second := open(t, other.dev, capture.Config{Filter: []cbpf.Instruction{{Op: cbpf.OpRetK, K: 96}}})
	eventually(t, "the refusal", func() bool {
		return other.reported("device eth0 of host web-1.example: there are 1 sessions already: try again later")
	})
	if !other.dev.Up() {
		t.Error("the device is down")
	}
	first.Close()
	eventually(t, "the session of the other reader", func() bool { return other.Counts().Sessions == 1 })
	send(s.far, 0, 10)
	whole(t, second, 10)
}

package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/fleet/hub"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/ring"
)

var everything = []fleet.Recording{{Name: "all"}}

func startStore(t testing.TB, listen, dir string) *hub.Hub {
	t.Helper()
	h, err := hub.Start(hub.Config{Listen: listen, Store: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func startLeaf(t testing.TB, url, dir string) *hub.Leaf {
	t.Helper()
	l, err := hub.StartLeaf(hub.LeafConfig{URL: url, Store: dir, Name: "web-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func dialLeaf(t testing.TB, l *hub.Leaf) *nats.Conn {
	t.Helper()
	nc, err := fleet.Dial("", nats.InProcessServer(l))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// replaying is a replay, with the errors that it reported.
type replaying struct {
	*fleet.Replay
	dev *rxring.Device

	mu     sync.Mutex
	failed []string
}

func (r *replaying) errors() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// newReplay makes a replay that waits for room in the sockets, unless c has a Room.
func newReplay(t testing.TB, nc *nats.Conn, c fleet.ReplayConfig) *replaying {
	t.Helper()
	var hosts []fleet.Host
	var err error
	eventually(t, "the host is known here", func() bool { // a hub learns of a leaf node's subscriptions after it is linked
		hosts, err = fleet.Discover(t.Context(), nc, c.Query)
		return err == nil
	})
	r := new(replaying)
	c.Namespace = rxring.NewNamespace(rxring.NamespaceConfig{})
	c.Failed = func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.failed = append(r.failed, err.Error())
	}
	if c.Room == nil {
		c.Room = func(n int) int {
			for _, d := range r.Devices() {
				n = d.RoomFor(n)
			}
			return n
		}
	}
	if r.Replay, err = fleet.NewReplay(nc, hosts, c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	r.dev = r.Devices()[0]
	return r
}

// play replays into a socket that is read all the time, and returns the packets' numbers.
func play(t testing.TB, r *replaying) (numbers []int) {
	t.Helper()
	playInto(t, r, open(t, r.dev, capture.Config{Buffer: 1 << 20}), func(p *ring.Frame) {
		n := int(p.Time().UnixNano() - 1e18)
		if !bytes.Equal(p.Data, frame(n)) {
			t.Fatalf("packet %d: % x", n, p.Data[:20])
		}
		numbers = append(numbers, n)
	})
	return numbers
}

// count is play for any packets, and returns how many there are.
func count(t testing.TB, r *replaying) (n int) {
	t.Helper()
	playInto(t, r, open(t, r.dev, capture.Config{Buffer: 1 << 20}), func(*ring.Frame) { n++ })
	return n
}

// playInto replays, and calls f with each packet that the socket gets.
func playInto(t testing.TB, r *replaying, h *capture.Handle, f func(*ring.Frame)) {
	t.Helper()
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	readAll(t, r, h, f)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// readAll reads the socket until the replay has ended.
func readAll(t testing.TB, r *replaying, h *capture.Handle, f func(*ring.Frame)) {
	t.Helper()
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	go func() {
		<-r.Done()
		r.dev.Drain(ctx)
		cancel()
	}()
	for {
		p, err := h.Next(ctx)
		switch {
		case err == nil:
			f(p)
		case errors.Is(err, context.Canceled):
			return
		default:
			t.Fatal(err)
		}
	}
}

// inOrder wants the packets from first to end.
func inOrder(t testing.TB, numbers []int, first, end int) {
	t.Helper()
	if len(numbers) != end-first {
		t.Errorf("%d packets: want %d", len(numbers), end-first)
	}
	for i, n := range numbers {
		if n != first+i {
			t.Fatalf("packet %d has number %d: want %d", i, n, first+i)
		}
	}
}

// recordings returns the streams of recordings.
func recordings(t testing.TB, js jetstream.JetStream) (all []*jetstream.StreamInfo) {
	for s := range js.ListStreams(soon(t)).Info() {
		if s.Config.Name != "rxring-index" {
			all = append(all, s)
		}
	}
	return all
}

// stored waits until the recordings have so many packets.
func stored(t testing.TB, nc *nats.Conn, domain string, packets uint64) {
	t.Helper()
	js, err := jetstream.NewWithDomain(nc, domain)
	if domain == "" {
		js, err = jetstream.New(nc)
	}
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	eventually(t, fmt.Sprintf("%d packets are stored", packets), func() bool {
		for _, s := range recordings(t, js) {
			stream, err := js.Stream(soon(t), s.Config.Name)
			if err != nil {
				continue
			}
			m, err := stream.GetMsg(soon(t), s.State.LastSeq)
			if err != nil {
				continue
			}
			var before, n uint64
			fmt.Sscan(m.Header.Get("Rxring-Packets-Before"), &before)
			fmt.Sscan(m.Header.Get("Rxring-Packets"), &n)
			last = before + n
		}
		return last >= packets
	})
}

func TestRecordingIsReplayedUnchanged(t *testing.T) {
	need.Time(t, "it runs a fleet for a second")
	t.Parallel()
	h := startStore(t, "127.0.0.1:0", t.TempDir())
	far := newDevice(t, eth0)
	ship(t, dial(t, h.URL()), far, fleet.ShipConfig{Host: "web-1", Recordings: everything, Buffer: 64 << 20})
	const n = 20000
	send(far, 0, n)
	nc := dial(t, h.URL())
	stored(t, nc, "", n)
	r := newReplay(t, nc, fleet.ReplayConfig{})
	inOrder(t, play(t, r), 0, n)
	c := r.Counts()
	if c.Packets != n || c.Lost != (fleet.Losses{}) || r.errors() != nil {
		t.Errorf("%+v, %v", c, r.errors())
	}
	if c.Received > c.Bytes/2 {
		t.Errorf("%d bytes of packets are %d in the recording", c.Bytes, c.Received)
	}

	r = newReplay(t, nc, fleet.ReplayConfig{Since: time.Unix(0, 1e18+5000), To: time.Unix(0, 1e18+5999)})
	inOrder(t, play(t, r), 5000, 6000)
	if c := r.Counts(); c.Lost != (fleet.Losses{}) {
		t.Errorf("%+v", c)
	}
}

// A leaf node records without the hub, and what it has recorded is read through the hub.
func TestHostRecordsWhileTheHubIsAway(t *testing.T) {
	need.Time(t, "it runs a fleet for a second")
	t.Parallel()
	const listen = "127.0.0.1:0"
	h, err := hub.Start(hub.Config{Listen: listen, Leaf: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	far := newDevice(t, eth0)
	l := startLeaf(t, h.LeafURL(), t.TempDir())
	if !l.Linked(10 * time.Second) {
		t.Fatal("the leaf node is not connected")
	}
	leaf := dialLeaf(t, l)
	ship(t, leaf, far, fleet.ShipConfig{Host: "web-1", Recordings: everything, Buffer: 64 << 20})
	send(far, 0, 1000)
	stored(t, leaf, "web-1", 1000)
	h.Close()
	send(far, 1000, 2000)
	stored(t, leaf, "web-1", 2000)
	if h, err = hub.Start(hub.Config{Listen: listen, Leaf: strings.TrimPrefix(h.LeafURL(), "nats://"), Store: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	if !l.Linked(20 * time.Second) {
		t.Fatal("the leaf node is not connected again")
	}
	r := newReplay(t, dial(t, h.URL()), fleet.ReplayConfig{})
	inOrder(t, play(t, r), 0, 2000)
	if c := r.Counts(); c.Lost != (fleet.Losses{}) {
		t.Errorf("%+v", c)
	}
}

// A replay goes on after a restart of the hub.
func TestReplayOutlivesTheHub(t *testing.T) {
	need.Time(t, "it runs servers for seconds")
	t.Parallel()
	h, err := hub.Start(hub.Config{Listen: "127.0.0.1:0", Leaf: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	l := startLeaf(t, h.LeafURL(), t.TempDir())
	leaf := dialLeaf(t, l)
	if !l.Linked(10 * time.Second) {
		t.Fatal("the leaf node is not connected")
	}
	far := newDevice(t, eth0)
	ship(t, leaf, far, fleet.ShipConfig{Host: "web-1", Recordings: everything, Buffer: 64 << 20})
	const n = 600
	for i := 0; i < n; i += 20 { // more batches than are requested ahead
		send(far, i, i+20)
		time.Sleep(60 * time.Millisecond)
	}
	stored(t, leaf, "web-1", n)
	var room atomic.Int64
	room.Store(50)
	r := newReplay(t, dial(t, h.URL()), fleet.ReplayConfig{Room: func(n int) int {
		n = min(n, int(room.Load()))
		room.Add(int64(-n))
		return n
	}})
	go func() {
		for r.Counts().Packets < 50 {
			time.Sleep(10 * time.Millisecond)
		}
		address, leafAddress := strings.TrimPrefix(h.URL(), "nats://"), strings.TrimPrefix(h.LeafURL(), "nats://")
		h.Close()
		room.Store(n)
		time.Sleep(100 * time.Millisecond)
		if again, err := hub.Start(hub.Config{Listen: address, Leaf: leafAddress}); err == nil {
			t.Cleanup(again.Close)
		}
	}()
	inOrder(t, play(t, r), 0, n)
	if c := r.Counts(); c.Lost != (fleet.Losses{}) {
		t.Errorf("%+v", c)
	}
}

// A stream that deletes what a reader has not read yet makes a loss that is counted exactly.
func TestRetentionThatOvertakesTheReaderIsCounted(t *testing.T) {
	need.Time(t, "it runs servers for seconds")
	t.Parallel()
	h := startStore(t, "127.0.0.1:0", t.TempDir())
	far := newDevice(t, eth0)
	ship(t, dial(t, h.URL()), far, fleet.ShipConfig{Host: "web-1", Recordings: []fleet.Recording{{Name: "all", Size: 1 << 20}}, Buffer: 64 << 20})
	const first, all = 800, 6000
	for n := 0; n < first; n += 20 { // more batches than are requested ahead
		sendRandom(far, n, n+20)
		time.Sleep(60 * time.Millisecond)
	}
	nc := dial(t, h.URL())
	stored(t, nc, "", first)
	var room atomic.Int64
	room.Store(50)
	r := newReplay(t, nc, fleet.ReplayConfig{Room: func(n int) int {
		n = min(n, int(room.Load()))
		room.Add(int64(-n))
		return n
	}})
	socket := open(t, r.dev, capture.Config{Buffer: 16 << 20})
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first packets", func() bool { return r.Counts().Packets > 0 })
	sendRandom(far, first, all)
	stored(t, nc, "", all)
	room.Store(all)
	readAll(t, r, socket, func(*ring.Frame) {})
	captured, drops := sum(t, socket)
	if lost := r.Counts().Lost; captured+drops.Sum() != first || lost.Retention == 0 || lost != (fleet.Losses{Retention: drops.Sum()}) {
		t.Errorf("captured %d, dropped %v of %d: %+v", captured, drops, first, lost)
	}
	if r.errors() != nil {
		t.Error(r.errors())
	}

	// What was deleted before a replay began is counted, too.
	r = newReplay(t, nc, fleet.ReplayConfig{})
	if n := count(t, r); n == 0 || uint64(n)+r.Counts().Lost.Retention != all || r.Counts().Lost.Transit != 0 {
		t.Errorf("captured %d of %d: %+v", n, all, r.Counts().Lost)
	}
}

// While JetStream is away the ring is the buffer, and what it drops is counted.
func TestHubThatStoresIsRestarted(t *testing.T) {
	need.Time(t, "it runs servers for seconds")
	t.Parallel()
	dir := t.TempDir()
	h := startStore(t, "127.0.0.1:0", dir)
	var address string
	fmt.Sscanf(h.URL(), "nats://%s", &address)
	far := newDevice(t, eth0)
	ship(t, dial(t, h.URL()), far, fleet.ShipConfig{Host: "web-1", Recordings: everything, Buffer: 4 << 20})
	send(far, 0, 1000)
	stored(t, dial(t, h.URL()), "", 1000)
	h.Close()
	n := 1000
	for ; n < 30000; n += 500 {
		send(far, n, n+500)
		time.Sleep(5 * time.Millisecond)
	}
	h = startStore(t, address, dir)
	nc := dial(t, h.URL())
	eventually(t, "the host", func() bool {
		hosts, err := fleet.Discover(t.Context(), nc, fleet.Query{})
		return err == nil && len(hosts[0].Devices[0].Recordings) == 1
	})
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the last packet is stored", func() bool {
		send(far, n, n+1)
		n++
		time.Sleep(50 * time.Millisecond)
		all := recordings(t, js)
		return len(all) == 1 && time.Since(all[0].State.LastTime) < time.Second
	})
	time.Sleep(100 * time.Millisecond)
	eventually(t, "every packet is replayed or counted", func() bool {
		r := newReplay(t, nc, fleet.ReplayConfig{})
		numbers := play(t, r)
		lost := r.Counts().Lost
		t.Logf("%d of %d packets, %+v", len(numbers), n, lost)
		if lost.Transit != 0 || lost.Retention != 0 {
			t.Fatalf("%+v", lost)
		}
		return uint64(len(numbers))+lost.FarRing == uint64(n)
	})
}

// A shipper that is closed has stored all that it captured; another continues the recording.
func TestRecordingContinuesWithAnotherShipper(t *testing.T) {
	t.Parallel()
	h := startStore(t, "127.0.0.1:0", t.TempDir())
	far := newDevice(t, eth0)
	for i := range 3 {
		s := ship(t, dial(t, h.URL()), far, fleet.ShipConfig{Host: "web-1", Recordings: everything, Buffer: 64 << 20})
		send(far, i*1000, (i+1)*1000)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ship(t, dial(t, h.URL()), far, fleet.ShipConfig{Host: "web-1", Recordings: everything})
	r := newReplay(t, dial(t, h.URL()), fleet.ReplayConfig{})
	inOrder(t, play(t, r), 0, 3000)
	if c := r.Counts(); c.Lost != (fleet.Losses{}) || r.errors() != nil {
		t.Errorf("%+v, %v", c, r.errors())
	}
}

// What a recording has is what its filter and snapshot length leave.
func TestRecordingHasAFilter(t *testing.T) {
	t.Parallel()
	h := startStore(t, "127.0.0.1:0", t.TempDir())
	far := newDevice(t, eth0)
	long := fleet.Recording{Name: "long", Snaplen: 100, Filter: "greater 501", Program: func(*rxring.Device) ([]cbpf.Instruction, error) { return only(500), nil }}
	ship(t, dial(t, h.URL()), far, fleet.ShipConfig{Host: "web-1", Recordings: []fleet.Recording{{Name: "all"}, long}})
	send(far, 0, 1000)
	far.Lost(3)
	nc := dial(t, h.URL())
	hosts, err := fleet.Discover(t.Context(), nc, fleet.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if infos := hosts[0].Devices[0].Recordings; len(infos) != 2 || infos[1].Filter != "greater 501" || infos[1].Snaplen != 100 {
		t.Errorf("%+v", infos)
	}
	for want, name := range map[string]string{
		"want recording=NAME, one of all, long": "",
		`no recording "lng": did you mean long`: "lng",
	} {
		_, err := fleet.NewReplay(nc, hosts, fleet.ReplayConfig{Namespace: rxring.NewNamespace(rxring.NamespaceConfig{}), Recording: name})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("recording %q: %v: want %s", name, err, want)
		}
	}
	eventually(t, "559 packets, and 3 lost before the device", func() bool {
		r := newReplay(t, nc, fleet.ReplayConfig{Recording: "long"})
		n := count(t, r)
		c := r.Counts()
		return n == 559 && c.Cut == 559 && c.Lost == (fleet.Losses{BeforeDevice: 3})
	})
}

func TestBadRecordings(t *testing.T) {
	t.Parallel()
	plain := startHub(t, "127.0.0.1:0")
	far := newDevice(t, eth0)
	for want, all := range map[string][]fleet.Recording{
		`recording "": want a name of 1 to 255 bytes`:                       {{}},
		`recording "a": want each name once`:                                {{Name: "a"}, {Name: "a"}},
		`recording "a": snaplen -1: want 1 to 262144 bytes, or 0`:           {{Name: "a", Snaplen: -1}},
		`recording "a": size 1000: want at least 1048576 bytes`:             {{Name: "a", Size: 1000}},
		`recording "a": class "headers": there is all`:                      {{Name: "a", Class: "headers"}},
		`recording "a": age 1ms: want at least 1s, or 0 for no limit`:       {{Name: "a", Age: time.Millisecond}},
		"the server has no JetStream for them":                              {{Name: "a"}},
		"or a leaf node on this host: `rxring ship --leaf URL --store DIR`": {{Name: "b"}},
	} {
		_, err := fleet.Ship(dial(t, plain.URL()), far.Namespace(), fleet.ShipConfig{Host: "h", Recordings: all})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %s", err, want)
		}
	}
	dir := t.TempDir()
	h := startStore(t, "127.0.0.1:0", dir)
	if _, err := fleet.Ship(dial(t, h.URL()), far.Namespace(), fleet.ShipConfig{Host: "h", Recordings: []fleet.Recording{{Name: "a", Size: 1 << 60}}}); err == nil || !strings.Contains(err.Error(), "the store has no room for") {
		t.Errorf("a recording that is larger than the disk: %v", err)
	}
	if _, err := hub.Start(hub.Config{Listen: "127.0.0.1:0", Store: dir}); err == nil || !strings.Contains(err.Error(), "another process has it: want a directory of its own for each") {
		t.Errorf("a hub with the store of another: %v", err)
	}
	for want, c := range map[string]hub.LeafConfig{
		`leaf "http://x": want the hub's address for leaf nodes, such as nats://hub:7422`: {URL: "http://x", Store: "s", Name: "n"},
		`leaf with Store "" and Name "n": want both`:                                      {URL: "nats://x", Name: "n"},
	} {
		if _, err := hub.StartLeaf(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %s", err, want)
		}
	}
}

func sendRandom(far *rxring.Device, from, to int) {
	seed := uint32(from + 1)
	for n := from; n < to; n++ {
		b := frame(n)
		for i := 18; i < len(b); i++ { // nothing that compresses
			seed ^= seed << 13
			seed ^= seed >> 17
			seed ^= seed << 5
			b[i] = byte(seed)
		}
		far.Deliver(&rxring.Packet{Data: b, Timestamp: 1e18 + int64(n)})
	}
}

package fleet_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/need"
)

// twoHosts are read through one hub by one reader, with a socket on all its devices.
func twoHosts(t *testing.T, c fleet.ReaderConfig) (a, b *rxring.Device, r *reading, h *capture.Handle) {
	t.Helper()
	hub := startHub(t, "127.0.0.1:0")
	a, b = newDevice(t, eth0), newDevice(t, eth0)
	ship(t, dial(t, hub.URL()), a, fleet.ShipConfig{Host: "web-1"})
	ship(t, dial(t, hub.URL()), b, fleet.ShipConfig{Host: "a-host-with-a-long-name.example"})
	c.Namespace = rxring.NewNamespace(rxring.NamespaceConfig{})
	r = read(t, dial(t, hub.URL()), c)
	h, err := capture.OpenNamespace(c.Namespace, capture.Config{Promiscuous: true, Buffer: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	eventually(t, "both hosts capture", func() bool { return a.HasListeners() && b.HasListeners() })
	return a, b, r, h
}

// Several hosts' packets are in the order of their stamps, although the one that is read later
// has the earlier ones.
func TestReorder(t *testing.T) {
	need.Time(t, "it runs servers for seconds")
	t.Parallel()
	a, b, r, h := twoHosts(t, fleet.ReaderConfig{Reorder: 3 * time.Second})
	const n = 500
	for i := range n {
		send(a, 4*i, 4*i+2)
	}
	eventually(t, "the first host's packets arrive", func() bool { return r.Counts().Received > 0 })
	for i := range n {
		send(b, 4*i+2, 4*i+4)
	}
	for i := range 4 * n {
		p, err := h.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if stamp := p.Time().UnixNano(); stamp != 1e18+int64(i) {
			t.Fatalf("packet %d has stamp %d: want %d", i, stamp-1e18, i)
		}
	}
	if c := r.Counts(); c.Packets != 4*n || c.Late != 0 || c.Lost != (fleet.Losses{}) {
		t.Errorf("%+v", c)
	}
	for _, d := range r.Devices() {
		if c := r.DeviceCounts(d); c.Packets != 2*n || c.Sessions != 1 {
			t.Errorf("%s: %+v", d.Name(), c)
		}
	}
}

// A packet that arrives after those with later stamps were delivered is delivered nevertheless,
// and counted.
func TestReorderLate(t *testing.T) {
	t.Parallel()
	a, b, r, h := twoHosts(t, fleet.ReaderConfig{Reorder: time.Millisecond})
	send(a, 10, 20)
	eventually(t, "the first host's packets are delivered", func() bool { return r.Counts().Packets == 10 })
	send(b, 0, 10)
	for range 20 {
		if _, err := h.Next(soon(t)); err != nil {
			t.Fatal(err)
		}
	}
	if c := r.Counts(); c.Late != 10 {
		t.Errorf("%d packets were late: want 10", c.Late)
	}
}

// Packets that wait for their order are delivered before their device goes down.
func TestReorderDeliversBeforeTheDeviceGoesDown(t *testing.T) {
	t.Parallel()
	s := newScene(t, eth0, fleet.ShipConfig{}, fleet.ReaderConfig{Reorder: 10 * time.Second})
	h := s.reader.open(t, capture.Config{})
	eventually(t, "the host captures", s.far.HasListeners)
	send(s.far, 0, 100)
	eventually(t, "the packets arrive", func() bool { return s.reader.Counts().Received > 0 })
	s.shipper.Close()
	eventually(t, "the device is down", func() bool { return !s.reader.dev.Up() })
	if captured, drops := sum(t, h); captured+drops.Sum() != 100 || captured == 0 {
		t.Errorf("captured %d, dropped %v", captured, drops)
	}
}

func TestReorderLimits(t *testing.T) {
	_, err := fleet.NewReader(nil, nil, fleet.ReaderConfig{Namespace: rxring.NewNamespace(rxring.NamespaceConfig{}), Reorder: 11 * time.Second})
	if err == nil || !strings.Contains(err.Error(), "reorder 11s: want at most 10s, or 0") {
		t.Error(err)
	}
}

// Devices have short names, and long ones as their alias.
func TestNamesOfSeveralHosts(t *testing.T) {
	_, _, r, _ := twoHosts(t, fleet.ReaderConfig{})
	aliases := make(map[string]string)
	for _, d := range r.Devices() {
		aliases[d.Alias()] = d.Name()
		if r.Origin(d) != d.Alias() {
			t.Errorf("%s: alias %q, from %q", d.Name(), d.Alias(), r.Origin(d))
		}
	}
	if short := aliases["a-host-with-a-long-name.example/eth0"]; aliases["web-1/eth0"] != "web-1.eth0" || !strings.HasPrefix(short, "a-host-wit~") || len(short) != 15 {
		t.Error(aliases)
	}
}

// The hosts' clocks are this machine's.
func TestClocks(t *testing.T) {
	_, _, r, _ := twoHosts(t, fleet.ReaderConfig{})
	clocks := r.Clocks(t.Context())
	if len(clocks) != 2 {
		t.Errorf("%d clocks for two hosts", len(clocks))
	}
	for d, c := range clocks {
		if c.Offset.Abs() > c.Error+time.Millisecond { // it is measured in nanoseconds, and read twice
			t.Errorf("%s: %v", d.Name(), c)
		}
	}
}

// A host that does not list its devices is reported by name. If there is no other, it is the error.
func TestSilentHosts(t *testing.T) {
	need.Time(t, "a host has two seconds to answer")
	t.Parallel()
	hub := startHub(t, "127.0.0.1:0")
	nc := dial(t, hub.URL())
	for _, host := range []string{"web-2", "web-3"} { // they answer who they are, and nothing else
		_, err := micro.AddService(nc, micro.Config{Name: "rxring", Version: "1.0.0", Metadata: map[string]string{"fleet": "default", "host": host, "classes": "all"}})
		if err == nil {
			_, err = nc.SubscribeSync("rxring.v1.default." + host + ".ctl.all")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil { // the hub knows of them now
		t.Fatal(err)
	}
	missing := func(host string) string {
		return "host " + host + ": its devices are not known, and missing: it does not answer"
	}
	_, err := fleet.Discover(t.Context(), dial(t, hub.URL()), fleet.Query{})
	if err == nil || !strings.Contains(err.Error(), missing("web-2")) || !strings.Contains(err.Error(), missing("web-3")) {
		t.Errorf("%v", err)
	}
	ship(t, dial(t, hub.URL()), newDevice(t, eth0), fleet.ShipConfig{Host: "web-1"})
	r := read(t, dial(t, hub.URL()), fleet.ReaderConfig{})
	if len(r.Devices()) != 1 || r.dev.Alias() != "web-1/eth0" || !slices.Equal(r.failed, []string{missing("web-2"), missing("web-3")}) {
		t.Errorf("%d devices, %s, %q", len(r.Devices()), r.dev.Alias(), r.failed)
	}
}

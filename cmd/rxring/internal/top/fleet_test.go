package top

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/fleet/hub"
)

// A fleet's report has its hosts, their devices and sessions, and a host that has ended.
func TestFleet(t *testing.T) {
	h, err := hub.Start(hub.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	dial := func() *nats.Conn {
		nc, err := fleet.Dial(h.URL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	if _, err := ns.AddDevice(rxring.DeviceConfig{Name: "eth0", MTU: 1500}); err != nil {
		t.Fatal(err)
	}
	shipper, err := fleet.Ship(dial(), ns, fleet.ShipConfig{Host: "web-1"})
	if err != nil {
		t.Fatal(err)
	}
	defer shipper.Close()

	s := Sampler{Source: NewFleet(dial(), fleet.Query{})}
	defer s.Source.Close()
	text := func() string {
		t.Helper()
		r, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join((&screen{path: "nats://hub", report: r}).lines(), "\n")
	}
	want := func(text string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if !strings.Contains(text, p) {
				t.Errorf("no %q in\n%s", p, text)
			}
		}
	}
	want(text(), "rxring top  nats://hub  1 host, 1 device, 0 readers", "  web-1/eth0  ethernet  up ", "rxring run --from nats://hub -- tcpdump -i any")

	here := rxring.NewNamespace(rxring.NamespaceConfig{})
	nc := dial()
	hosts, err := fleet.Discover(t.Context(), nc, fleet.Query{})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := fleet.NewReader(nc, hosts, fleet.ReaderConfig{Namespace: here})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	handle, err := capture.OpenDevice(here.Devices()[0], capture.Config{Snaplen: 96})
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	for len(shipper.Status().Sessions) == 0 || shipper.Status().Sessions[0].Snaplen != 96 {
		time.Sleep(time.Millisecond)
	}
	want(text(), "1 reader", "lost: before the device 0, in the host's ring 0, in transit 0", "class all, filter of 1 instruction, 96 bytes of each packet, open for 0s", "0 offered, 0 published")

	shipper.Close()
	want(text(), "  web-1/eth0  ethernet  down", "host web-1: it does not answer", "0 readers")
}

// Text of hosts and readers is escaped: they are other machines.
func TestFleetTextIsEscaped(t *testing.T) {
	f := new(fleetSource)
	f.sessions = make(map[key]*fleet.SessionStatus)
	f.latest = []fleet.HostStatus{{
		Name:     "web\x1b[2J",
		Devices:  []fleet.Device{{Name: "eth\x1b0"}},
		Sessions: []fleet.SessionStatus{{Device: "eth\x1b0", Class: "a\x1b", Readers: []fleet.ReaderStatus{{User: "mallory\x1b[2J", Transit: 7}}, ReaderCount: 2}},
	}, {Name: "db", Err: errors.New("\x1b]0;x\a")}}
	f.hosts = []fleet.Host{{Name: "web\x1b[2J"}, {Name: "db", Devices: []fleet.Device{{Name: "eth\x1b1"}}}}
	st := attach.Status{Time: time.Now()}
	for i := range f.latest {
		f.add(&st, &f.latest[i])
	}
	r := Compare(attach.Status{}, st)
	f.describe(r)
	text := strings.Join((&screen{path: "nats://hub", report: r}).lines(), "\n")
	if strings.ContainsAny(text, "\x1b\a") || !strings.Contains(text, "mallory?[2J and 1 more") || !strings.Contains(text, "in transit 7 (mallory?[2J 7)") {
		t.Errorf("%q", text)
	}
}

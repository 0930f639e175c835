package top

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring"
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

	s := sampler{source: NewFleet(dial(), fleet.Query{})}
	defer s.source.Close()
	text := func() string {
		t.Helper()
		r, err := s.next(t.Context())
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

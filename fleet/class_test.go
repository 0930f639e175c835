package fleet_test

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/need"
)

// short accepts packets of at most n bytes.
func short(n uint32) []cbpf.Instruction {
	return []cbpf.Instruction{{Op: 0x80}, {Op: 0x25, K: n, Jt: 1}, {Op: 0x06, K: 0xffff}, {Op: 0x06}}
}

// A class's readers receive the packets and bytes of its grant, whatever they request; another
// class of the same host is not limited by it.
func TestClassesLimitTheirReaders(t *testing.T) {
	need.Time(t, "it runs a fleet for a second")
	classes := []fleet.Class{{}, {Name: "start", Grant: rxring.Grant{Filter: short(500), Snaplen: 20}}}
	s := newScene(t, eth0, fleet.ShipConfig{Classes: classes}, fleet.ReaderConfig{})
	limited := read(t, dial(t, s.hub.URL()), fleet.ReaderConfig{Query: fleet.Query{Class: "start"}})
	all := s.reader.open(t, capture.Config{})
	some := limited.open(t, capture.Config{})
	send(s.far, 0, 1000)
	if captured, drops := whole(t, all, 1000); captured != 1000 {
		t.Errorf("the other class captured %d, dropped %v", captured, drops)
	}
	const matching = 441 // frame n has 60+n bytes
	if captured, drops := whole(t, some, matching); captured != matching {
		t.Errorf("captured %d, dropped %v", captured, drops)
	}
	for n := range matching {
		p, err := some.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Data, frame(n)[:20]) || p.Len != 60+n {
			t.Fatalf("packet %d: % x of %d bytes", n, p.Data, p.Len)
		}
	}
	// What the reader requests applies besides.
	if err := some.SetFilter(only(400)); err != nil {
		t.Fatal(err)
	}
	send(s.far, 0, 1000)
	if captured, _ := whole(t, some, matching+100); captured != matching+100 {
		t.Errorf("captured %d after a filter", captured)
	}
}

// Devices that a class does not have do not exist for its readers.
func TestClassesHideDevices(t *testing.T) {
	h := startHub(t, "127.0.0.1:0")
	far := newDevice(t, eth0)
	if _, err := far.Namespace().AddDevice(rxring.DeviceConfig{Name: "secret0"}); err != nil {
		t.Fatal(err)
	}
	nc := dial(t, h.URL())
	visible := func(d *rxring.Device) bool { return d.Name() == "eth0" }
	ship(t, nc, far, fleet.ShipConfig{Host: "a", Classes: []fleet.Class{{Name: "some", Grant: rxring.Grant{Devices: visible}}}})
	hosts, err := fleet.Discover(t.Context(), nc, fleet.Query{Class: "some"})
	if err != nil || len(hosts[0].Devices) != 1 || hosts[0].Devices[0].Name != "eth0" {
		t.Errorf("%+v, %v", hosts, err)
	}
	// One that knows the name gets no session.
	hosts[0].Devices[0].Name = "secret0"
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	failed := make(chan error, 10)
	r, err := fleet.NewReader(nc, hosts, fleet.ReaderConfig{Namespace: ns, Query: fleet.Query{Class: "some"}, Failed: func(err error) { failed <- err }})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	open(t, r.Devices()[0], capture.Config{})
	if err := <-failed; !errors.Is(err, syscall.ENODEV) || !strings.Contains(err.Error(), "it offers eth0") {
		t.Error(err)
	}
}

func TestClassErrors(t *testing.T) {
	h := startHub(t, "127.0.0.1:0")
	nc := dial(t, h.URL())
	far := newDevice(t, eth0)
	openAny := func(*rxring.Device, capture.Config) (*capture.Handle, error) { return nil, nil }
	for want, c := range map[string]fleet.ShipConfig{
		`class "a b": want 1 to 255 letters, digits, '-' or '_'`:                 {Classes: []fleet.Class{{Name: "a b"}}},
		`class "a": there are two: want different names`:                         {Classes: []fleet.Class{{Name: "a"}, {Name: "a"}}},
		`class "all": snaplen -1: want at least 1 byte, or 0 for all`:            {Classes: []fleet.Class{{Grant: rxring.Grant{Snaplen: -1}}}},
		`class "all": filter: `:                                                  {Classes: []fleet.Class{{Grant: rxring.Grant{Filter: []cbpf.Instruction{{Op: 0x80}}}}}},
		`class "all": its filter, snaplen or memory cannot be limited for devic`: {Classes: []fleet.Class{{Grant: rxring.Grant{Snaplen: 60}}}, Open: openAny},
	} {
		if _, err := fleet.Ship(nc, far.Namespace(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
	ship(t, nc, far, fleet.ShipConfig{Host: "a", Classes: []fleet.Class{{Name: "headers"}, {Name: "dns"}}})
	_, err := fleet.Discover(t.Context(), nc, fleet.Query{})
	if want := `fleet: class "all": hosts "*" do not have it: there are dns and headers`; err == nil || err.Error() != want || !errors.Is(err, syscall.EACCES) {
		t.Errorf("%v: want %q", err, want)
	}
}

package fleet_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/fleet/hub"
)

// What a host has recorded at the hub is found and replayed while the host is down.
func TestRecordingOfAHostThatIsDown(t *testing.T) {
	t.Parallel()
	h := startUsers(t, hub.Config{Store: t.TempDir()}, hub.InitConfig{Classes: []string{fleet.DefaultClass, "start"}})
	far := newDevice(t, eth0)
	s := ship(t, h.as(t, "ship"), far, limited("web-1"))
	send(far, 0, 1000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reader := h.as(t, "read")
	if _, err := fleet.Discover(t.Context(), reader, fleet.Query{}); err == nil || !strings.Contains(err.Error(), `no host of fleet "default" ships`) {
		t.Errorf("live: %v", err)
	}
	for want, q := range map[string]fleet.Query{"whole": {Hosts: "web-*"}, "starts": {Hosts: "web-1", Class: "start"}} {
		nc := reader
		if q.Class != "" {
			nc = h.as(t, "read-"+q.Class)
		}
		q.Recorded = true
		hosts, err := fleet.Discover(t.Context(), nc, q)
		if err != nil {
			t.Fatal(err)
		}
		if d := hosts[0].Devices[0]; len(hosts) != 1 || hosts[0].Name != "web-1" || d.Name != "eth0" || d.MTU != far.MTU() || len(d.Recordings) != 1 || d.Recordings[0].Name != want {
			t.Errorf("%+v", hosts)
		}
		if r := newReplay(t, nc, fleet.ReplayConfig{Query: q}); q.Class == "" {
			inOrder(t, play(t, r), 0, 1000)
		} else if n := count(t, r); n != 1000 {
			t.Errorf("%d packets", n)
		}
	}
	if hosts, err := fleet.Discover(t.Context(), reader, fleet.Query{Recorded: true, Hosts: "db-*"}); err == nil {
		t.Errorf("another host: %+v", hosts)
	}

	// It is one device, with what its host lists, once the host answers again.
	again := limited("web-1")
	again.Recordings = again.Recordings[1:]
	ship(t, h.as(t, "ship"), far, again)
	hosts, err := fleet.Discover(t.Context(), reader, fleet.Query{Recorded: true})
	if err != nil || len(hosts) != 1 || len(hosts[0].Devices) != 1 || len(hosts[0].Devices[0].Recordings) != 1 || !hosts[0].Devices[0].Up {
		t.Errorf("%+v, %v", hosts, err)
	}
}

// A recording whose stream was deleted is not found.
func TestDeletedRecording(t *testing.T) {
	t.Parallel()
	nc := dial(t, startStore(t, "127.0.0.1:0", t.TempDir()).URL())
	far := newDevice(t, eth0)
	ship(t, nc, far, fleet.ShipConfig{Host: "web-1", Recordings: []fleet.Recording{{Name: "a"}, {Name: "b"}}}).Close()
	hosts, err := fleet.Discover(t.Context(), nc, fleet.Query{Recorded: true})
	if err != nil || len(hosts[0].Devices[0].Recordings) != 2 {
		t.Fatalf("%+v, %v", hosts, err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	gone := hosts[0].Devices[0].Recordings[0]
	if err := js.DeleteStream(t.Context(), gone.Stream); err != nil {
		t.Fatal(err)
	}
	hosts, err = fleet.Discover(t.Context(), nc, fleet.Query{Recorded: true})
	if err != nil || len(hosts[0].Devices[0].Recordings) != 1 || hosts[0].Devices[0].Recordings[0].Name == gone.Name {
		t.Errorf("%+v, %v", hosts, err)
	}
}

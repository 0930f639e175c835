package fleet_test

import (
	"testing"

	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/need"
)

// A device's name here follows from the query, not from how many hosts ship at the moment.
func TestNamesFollowFromTheQuery(t *testing.T) {
	need.Time(t, "it runs a fleet for a second")
	url := startHub(t, "127.0.0.1:0").URL()
	ship(t, dial(t, url), newDevice(t, eth0), fleet.ShipConfig{Host: "web-1"})
	for hosts, want := range map[string]string{"": "web-1.eth0", "*": "web-1.eth0", "web-[1-3]": "web-1.eth0", "web-1": "eth0"} {
		r := read(t, dial(t, url), fleet.ReaderConfig{Query: fleet.Query{Hosts: hosts}})
		if got := r.dev.Name(); got != want {
			t.Errorf("hosts %q: %s, want %s", hosts, got, want)
		}
	}
	r := read(t, dial(t, url), fleet.ReaderConfig{Name: "far"})
	if got := r.dev.Name(); got != "far" {
		t.Errorf("the device is called %s, want far", got)
	}
}

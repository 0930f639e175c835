package fleet_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/need"
)

// startServer starts a NATS server that is no hub.
func startServer(t *testing.T, o server.Options) string {
	t.Helper()
	o.Host, o.Port, o.NoLog, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	return s.ClientURL()
}

// A server that delays publishers for slow subscribers is recognised; the hub is none.
func TestProbeFindsServersThatDelayPublishers(t *testing.T) {
	need.Time(t, "it runs servers for seconds")
	for _, c := range []struct {
		name string
		url  string
		want bool
	}{
		{"the default", startServer(t, server.Options{}), true},
		{"no_fast_producer_stall", startServer(t, server.Options{NoFastProducerStall: true}), false},
		{"little memory, no_fast_producer_stall", startServer(t, server.Options{MaxPending: 8 << 20, NoFastProducerStall: true}), false},
		{"a hub", startHub(t, "127.0.0.1:0").URL(), false},
	} {
		nc := dial(t, c.url)
		got, err := fleet.DelaysPublishers(t.Context(), nc)
		for begin := time.Now(); time.Since(begin) < patience; { // a busy machine delays publishers, too
			if err == nil && got == c.want || err != nil && !busy(err) {
				break
			}
			got, err = fleet.DelaysPublishers(t.Context(), nc)
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %v, %v: want %v", c.name, got, err, c.want)
		}
		// The connection is as it was.
		if _, err := nc.Request("nobody", nil, time.Minute); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%s: afterwards: %v", c.name, err)
		}
	}
}

// patience is how long a test asks a probe again while the machine is busy.
const patience = 5 * time.Minute

// busy reports whether a probe failed because this machine was too busy for it.
func busy(err error) bool {
	return strings.HasSuffix(err.Error(), "not known: the server did not receive enough within 1s") || strings.Contains(err.Error(), "this machine was busy")
}

// What a probe cannot find out is an error that says why.
func TestProbeThatFindsNothing(t *testing.T) {
	need.Time(t, "it waits for answers")
	nc := dial(t, startServer(t, server.Options{MaxPending: 1 << 30}))
	delays, err := fleet.DelaysPublishers(t.Context(), nc)
	for begin := time.Now(); time.Since(begin) < patience; { // a busy machine delays publishers, too
		if !delays {
			break
		}
		delays, err = fleet.DelaysPublishers(t.Context(), nc)
	}
	if err == nil || !busy(err) && !strings.HasSuffix(err.Error(), "not known: the server keeps more than 128 MiB for a slow subscriber") {
		t.Errorf("%v, %v", delays, err)
	}
	nc = dial(t, startServer(t, server.Options{Users: []*server.User{
		{Username: "reader", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"rxring.>"}}}},
	}, NoAuthUser: "reader"}))
	if _, err := fleet.DelaysPublishers(t.Context(), nc); !errors.Is(err, nats.ErrPermissionViolation) || !strings.HasSuffix(err.Error(), "the probe publishes to the user's own inbox") {
		t.Errorf("%v", err)
	}
}

package fleet_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/need"
)

// Readers are answered while JetStream does not answer the host.
func TestJetStreamThatDoesNotAnswer(t *testing.T) {
	need.Time(t, "a request to JetStream takes 5 s")
	t.Parallel()
	host := &server.User{Username: "host", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: []string{"$JS.API.STREAM.CREATE.*"}}}}
	url := startServer(t, server.Options{JetStream: true, StoreDir: t.TempDir(), Users: []*server.User{host, {Username: "any"}}})
	as := func(user string) string { return "nats://" + user + ":@" + url[len("nats://"):] }
	js, err := jetstream.New(dial(t, as("any")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "rxring-index", Subjects: []string{"rxring.v1.*.*.*.i.*.*"}}); err != nil {
		t.Fatal(err)
	}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	s, err := fleet.Ship(dial(t, as("host")), ns, fleet.ShipConfig{Host: "h", Recordings: []fleet.Recording{{Name: "all", Size: 1 << 20}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := ns.AddDevice(eth0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // its recording is tried
	hosts, err := fleet.Discover(soon(t), dial(t, as("any")), fleet.Query{})
	if err != nil || len(hosts) != 1 || hosts[0].Err != nil || len(hosts[0].Devices) != 1 {
		t.Errorf("%+v, %v", hosts, err)
	}
}

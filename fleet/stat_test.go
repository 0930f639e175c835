package fleet_test

import (
	"testing"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/need"
)

// A host describes its sessions, with readers and counts, to readers of the same class alone.
func TestStatusOfAHost(t *testing.T) {
	need.Time(t, "it runs a fleet for a second")
	s := newScene(t, eth0, fleet.ShipConfig{Classes: []fleet.Class{{}, {Name: "other"}}}, fleet.ReaderConfig{})
	nc := dial(t, s.hub.URL())
	ask := func(class string) fleet.HostStatus {
		t.Helper()
		q := fleet.Query{Class: class}
		hosts, err := fleet.Discover(t.Context(), nc, q)
		if err != nil {
			t.Fatal(err)
		}
		all, err := fleet.Status(t.Context(), nc, q, hosts)
		if err != nil || len(all) != 1 || all[0].Err != nil || all[0].Name != "web-1.example" || len(all[0].Devices) != 1 {
			t.Fatalf("%+v, %v", all, err)
		}
		return all[0]
	}
	if got := ask("").Sessions; len(got) != 0 {
		t.Fatalf("a session while nobody reads: %+v", got)
	}
	open(t, s.reader.dev, capture.Config{Filter: only(500), Snaplen: 100})
	eventually(t, "the session", func() bool { return s.reader.Counts().Sessions > 0 })
	var session fleet.SessionStatus
	eventually(t, "the filter", func() bool {
		sessions := ask("").Sessions
		if len(sessions) != 1 {
			return false
		}
		session = sessions[0]
		return session.Snaplen == 100
	})
	if session.Device != "eth0" || session.Class != fleet.DefaultClass || session.Instructions == 0 || session.Filter == "" ||
		session.Opened.IsZero() || session.ReaderCount != 1 || len(session.Readers) != 1 || session.Readers[0].User == "" {
		t.Errorf("%+v", session)
	}
	send(s.far, 0, 1000)
	eventually(t, "its counts", func() bool {
		session = ask("").Sessions[0]
		return session.Packets == 559 && session.Offered == 559 && session.Cut == 559 && session.Bytes > 0 && session.Batches > 0
	})
	if got := ask("other").Sessions; len(got) != 0 {
		t.Errorf("a reader of another class sees %+v", got)
	}
	totals := func() fleet.Total {
		t.Helper()
		all := s.shipper.Totals()
		if len(all) != 1 {
			t.Fatalf("%+v", all)
		}
		return all[0]
	}
	if got := totals(); got.Sessions != 1 || got.Readers != 1 || got.Packets != 559 || got.Device != "eth0" {
		t.Errorf("%+v", got)
	}
	s.reader.Close()
	eventually(t, "the session's end", func() bool { return len(s.shipper.Status().Sessions) == 0 })
	if got := totals(); got.Sessions != 0 || got.Readers != 0 || got.Packets != 559 || got.Bytes < session.Bytes {
		t.Errorf("after the session's end: %+v", got)
	}
}

// A reader reports what it has lost in transit, so that everyone sees who is too slow.
func TestStatusHasLossesInTransit(t *testing.T) {
	need.Time(t, "it runs servers for seconds")
	s := newScene(t, eth0, fleet.ShipConfig{Lease: 3 * time.Second}, fleet.ReaderConfig{})
	open(t, s.reader.dev, capture.Config{})
	nc := dial(t, s.hub.URL())
	send(s.far, 0, 10)
	eventually(t, "packets", func() bool { return s.reader.Counts().Packets == 10 })
	// What is published while the hub is away is lost.
	listen := s.hub.URL()[len("nats://"):]
	s.hub.Close()
	eventually(t, "batches that the connection refuses", func() bool {
		send(s.far, 0, 1)
		sessions := s.shipper.Status().Sessions
		return len(sessions) == 1 && sessions[0].Packets >= 20
	})
	s.hub = startHub(t, listen)
	eventually(t, "the loss", func() bool { return s.reader.Counts().Lost.Transit > 0 })
	eventually(t, "a reader that reports it", func() bool {
		all, err := fleet.Status(t.Context(), nc, fleet.Query{}, []fleet.Host{{Name: "web-1.example"}})
		return err == nil && all[0].Err == nil && len(all[0].Sessions) == 1 && all[0].Sessions[0].Readers[0].Transit > 0
	})
}

// A host that does not answer is in the result, with the reason.
func TestStatusOfAHostThatIsGone(t *testing.T) {
	nc := dial(t, startHub(t, "127.0.0.1:0").URL())
	all, err := fleet.Status(t.Context(), nc, fleet.Query{}, []fleet.Host{{Name: "web-9"}})
	if err != nil || len(all) != 1 || all[0].Name != "web-9" || all[0].Err == nil || all[0].Err.Error() != "it does not answer" {
		t.Errorf("%+v, %v", all, err)
	}
}

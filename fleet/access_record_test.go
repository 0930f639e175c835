package fleet_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/fleet/hub"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/ring"
)

// userHub is a hub with users.
type userHub struct {
	*hub.Hub
	dir string // of Init
}

func startUsers(t *testing.T, c hub.Config, users hub.InitConfig) userHub {
	t.Helper()
	c.Listen, c.Auth = "127.0.0.1:0", t.TempDir()
	if _, err := hub.Init(c.Auth, users); err != nil {
		t.Fatal(err)
	}
	h, err := hub.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return userHub{h, c.Auth}
}

// creds is the file of a user's credentials.
func (h userHub) creds(user string) string { return filepath.Join(h.dir, user+".creds") }

// as connects as a user.
func (h userHub) as(t *testing.T, user string) *nats.Conn {
	t.Helper()
	nc, err := dialAs(t, h.URL(), fleet.Access{Creds: h.creds(user)})
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

const startLen = 20 // bytes of a packet that readers of class start receive

// limited has two classes, with a recording for each.
func limited(host string) fleet.ShipConfig {
	return fleet.ShipConfig{
		Host: host, Buffer: 64 << 20,
		Classes:    []fleet.Class{{}, {Name: "start", Grant: rxring.Grant{Snaplen: startLen}}},
		Recordings: []fleet.Recording{{Name: "whole"}, {Name: "starts", Class: "start"}},
	}
}

// replayed wants n packets, of size bytes each, in the only recording that a reader finds.
func replayed(t *testing.T, nc *nats.Conn, class, recording string, n, size int) {
	t.Helper()
	q := fleet.Query{Class: class}
	hosts, err := fleet.Discover(t.Context(), nc, q)
	if err != nil {
		t.Fatal(err)
	}
	if all := hosts[0].Devices[0].Recordings; len(all) != 1 || all[0].Name != recording {
		t.Errorf("class %s has %+v: want %s", class, all, recording)
	}
	eventually(t, fmt.Sprintf("%d packets of recording %s", n, recording), func() bool {
		got := 0
		r := newReplay(t, nc, fleet.ReplayConfig{Query: q})
		playInto(t, r, open(t, r.dev, capture.Config{Buffer: 1 << 20}), func(p *ring.Frame) {
			number := int(p.Time().UnixNano() - 1e18)
			if whole := frame(number); !bytes.Equal(p.Data, whole[:min(size, len(whole))]) || p.Len != len(whole) {
				t.Fatalf("packet %d of %d bytes has % x", number, p.Len, p.Data[:min(len(p.Data), 2*startLen)])
			}
			got++
		})
		return got == n && r.Counts().Lost == fleet.Losses{}
	})
}

// A recording is limited by its class, and read by its class alone, by any request.
func TestRecordingsOfClasses(t *testing.T) {
	need.Time(t, "it runs servers for seconds")
	t.Parallel()
	h := startUsers(t, hub.Config{Store: t.TempDir()}, hub.InitConfig{Classes: []string{fleet.DefaultClass, "start"}})
	far := newDevice(t, eth0)
	ship(t, h.as(t, "ship"), far, limited("a"))
	send(far, 0, 1000)
	all, start := h.as(t, "read"), h.as(t, "read-start")
	replayed(t, all, "", "whole", 1000, 1<<16)
	replayed(t, start, "start", "starts", 1000, startLen)

	hosts, err := fleet.Discover(t.Context(), all, fleet.Query{})
	if err != nil {
		t.Fatal(err)
	}
	stream := hosts[0].Devices[0].Recordings[0].Stream
	const whole, starts = "rxring.v1.default.a.eth0.r.all.whole", "rxring.v1.default.a.eth0.r.start.starts"
	create := func(filter string) string {
		text, _ := json.Marshal(map[string]any{"stream_name": stream, "config": jetstream.ConsumerConfig{Name: "x", FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy}})
		return string(text)
	}
	for _, domain := range []string{"", "rxring-a."} {
		for _, r := range [][2]string{
			{"STREAM.INFO." + stream, ""},
			{"STREAM.LIST", ""},
			{"STREAM.NAMES", ""},
			{"STREAM.CREATE.copy", `{"name":"copy","sources":[{"name":"` + stream + `"}]}`},
			{"STREAM.UPDATE." + stream, `{"name":"` + stream + `","subjects":["` + whole + `"],"republish":{"src":">","dest":"rxring.v1.default.a.eth0.s.start.x"}}`},
			{"STREAM.DELETE." + stream, ""},
			{"STREAM.PURGE." + stream, ""},
			{"STREAM.MSG.GET." + stream, `{"seq":1}`},
			{"DIRECT.GET." + stream, `{"seq":1}`},
			{"DIRECT.GET." + stream + "." + whole, ""},
			{"CONSUMER.CREATE." + stream, create("")},
			{"CONSUMER.CREATE." + stream + ".x", create("")},
			{"CONSUMER.CREATE." + stream + ".x." + whole, create(whole)},
			{"CONSUMER.CREATE." + stream + ".x.rxring.v1.*.*.*.r.*.*", create("rxring.v1.*.*.*.r.*.*")},
			{"CONSUMER.CREATE." + stream + ".x.>", create(">")},
			{"CONSUMER.DURABLE.CREATE." + stream + ".x", create("")},
			{"CONSUMER.LIST." + stream, ""},
			{"CONSUMER.NAMES." + stream, ""},
		} {
			subject := "$JS." + domain + "API." + r[0]
			if err := start.PublishRequest(subject, start.NewInbox(), []byte(r[1])); err != nil {
				t.Fatal(err)
			}
			start.Flush()
			if err := start.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+subject+`"`) {
				t.Errorf("%s: %v", subject, err)
			}
		}
	}
	// A request that is allowed does not have another filter than its subject says.
	m, err := start.Request("$JS.API.CONSUMER.CREATE."+stream+".x."+starts, []byte(create(whole)), 5*time.Second)
	if err != nil || !bytes.Contains(m.Data, []byte("filter")) || !bytes.Contains(m.Data, []byte("error")) {
		t.Errorf("%v, %s", err, m.Data)
	}
}

// A host whose user is limited to it records in a leaf node of its own, which readers reach through
// the hub. It cannot ship as another one.
func TestUserOfOneHost(t *testing.T) {
	need.Time(t, "it runs servers for seconds")
	t.Parallel()
	h := startUsers(t, hub.Config{Leaf: "127.0.0.1:0"}, hub.InitConfig{Classes: []string{fleet.DefaultClass, "start"}, Hosts: []string{"web-1"}})
	l, err := hub.StartLeaf(hub.LeafConfig{URL: h.LeafURL(), Store: t.TempDir(), Name: fleet.Domain("web-1"), Creds: h.creds("ship-web-1")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	if !l.Linked(10 * time.Second) {
		t.Fatal("the leaf node is not connected")
	}
	far := newDevice(t, eth0)
	ship(t, dialLeaf(t, l), far, limited("web-1"))
	send(far, 0, 1000)
	start := h.as(t, "read-start")
	eventually(t, "the host", func() bool {
		_, err := fleet.Discover(t.Context(), start, fleet.Query{Class: "start"})
		return err == nil
	})
	replayed(t, start, "start", "starts", 1000, startLen)
	replayed(t, h.as(t, "read"), "", "whole", 1000, 1<<16)

	// A session crosses the link, too.
	r := read(t, start, fleet.ReaderConfig{Query: fleet.Query{Class: "start"}})
	c := r.open(t, capture.Config{})
	send(far, 0, 100)
	if captured, drops := whole(t, c, 100); captured != 100 {
		t.Errorf("captured %d, dropped %v", captured, drops)
	}

	host := h.as(t, "ship-web-1")
	if _, err := fleet.Ship(host, far.Namespace(), fleet.ShipConfig{Host: "web-2"}); !errors.Is(err, syscall.EACCES) || !strings.Contains(fmt.Sprint(err), `host "web-2"`) {
		t.Errorf("ship as another host: %v", err)
	}
	if _, err := hub.StartLeaf(hub.LeafConfig{URL: h.LeafURL(), Store: t.TempDir(), Name: fleet.Domain("web-2"), Creds: h.creds("ship-web-1")}); !errors.Is(err, syscall.EACCES) || !strings.Contains(fmt.Sprint(err), "may not subscribe to $JS.rxring-web-2.API.>") {
		t.Errorf("leaf node of another host: %v", err)
	}
	if _, err := fleet.Ship(host, far.Namespace(), fleet.ShipConfig{Host: "web-1", Fleet: "other", Recordings: everything}); !errors.Is(err, syscall.EACCES) || !strings.Contains(fmt.Sprint(err), "want a leaf node on this host") {
		t.Errorf("recordings at the hub: %v", err)
	}
	for _, subject := range []string{
		"rxring.v1.default.web-2.eth0.s.all.x", "rxring.v1.default.web-2.eth0.r.all.whole", "rxring.v1.default.web-2.eth0.i.all.whole",
		"rxring.v1.default.web-1.ctl.all", "$JS.API.STREAM.CREATE.x", "$JS.API.STREAM.UPDATE.x", "$JS.rxring-web-2.API.INFO",
	} {
		host.Publish(subject, nil)
		host.Flush()
		if err := host.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+subject+`"`) {
			t.Errorf("published to %s: %v", subject, err)
		}
	}
}

// A class records only the devices that its readers may use; one without any is in the host's log.
func TestRecordingsOfDevices(t *testing.T) {
	t.Parallel()
	nc := dial(t, startStore(t, "127.0.0.1:0", t.TempDir()).URL())
	c := limited("a")
	c.Classes[1].Grant.Devices = func(d *rxring.Device) bool { return d.Name() == "wg0" }
	var log bytes.Buffer
	c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	ship(t, nc, newDevice(t, eth0), c).Close()
	if want := `msg="fleet: a recording has no device: none is offered to its class" recording=starts class=start`; !strings.Contains(log.String(), want) {
		t.Errorf("log: %s: want %s", log.String(), want)
	}
	hosts, err := fleet.Discover(t.Context(), nc, fleet.Query{Recorded: true})
	if err != nil || len(hosts[0].Devices[0].Recordings) != 1 {
		t.Errorf("%+v, %v", hosts, err)
	}
	if hosts, err := fleet.Discover(t.Context(), nc, fleet.Query{Recorded: true, Class: "start"}); err == nil {
		t.Errorf("class start: %+v", hosts)
	}
}

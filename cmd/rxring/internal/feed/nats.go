package feed

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cmd/rxring/internal/dialer"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/suggest"
)

// natsPlan is nats://SERVER[/HOSTS[/DEVICES]][?OPTION=VALUE&…], or tls://… to require TLS.
type natsPlan struct {
	server   string // URL
	access   fleet.Access
	query    fleet.Query
	compress fleet.Compression
	replay   *replayPlan // nil: live
	reorder  time.Duration
}

// natsOptions are those of the URL's query.
var natsOptions = []string{"ca", "class", "compress", "creds", "fleet", "nkey", "recording", "reorder", "since", "to"}

// mostReorder is what fleet.ReaderConfig allows.
const mostReorder = 10 * time.Second

// leaveTime bounds the time in which a hub receives the sessions' ends.
const leaveTime = 500 * time.Millisecond

const wantNATS = "want nats://SERVER[:PORT][/HOSTS[/DEVICES]], for instance nats://hub/web-*/eth0"

func parseNATS(s *Spec) (plan, error) {
	if err := s.want(nil); err != nil {
		return nil, fmt.Errorf("%w: options are in the URL, as ?compress=zstd, and a comma in it is doubled", err)
	}
	u, err := url.Parse(s.kind + ":" + s.arg)
	if err != nil || u.Host == "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q: %s", s.kind+":"+s.arg, wantNATS)
	}
	var p natsPlan
	p.server = (&url.URL{Scheme: s.kind, User: u.User, Host: u.Host}).String()
	path := strings.Split(strings.Trim(u.EscapedPath(), "/"), "/")
	if len(path) > 2 {
		return nil, fmt.Errorf("path %q: %s", u.Path, wantNATS)
	}
	for i, into := range []*string{&p.query.Hosts, &p.query.Devices}[:len(path)] {
		if *into, err = url.PathUnescape(path[i]); err != nil {
			return nil, fmt.Errorf("path %q: %s", u.Path, wantNATS)
		}
	}
	options, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("options %q: want OPTION=VALUE, with & between them", u.RawQuery)
	}
	for key, values := range options {
		if !slices.Contains(natsOptions, key) {
			return nil, fmt.Errorf("option %q: %swant %s", key, suggest.DidYouMean(key, natsOptions), strings.Join(natsOptions, ", "))
		}
		if len(values) != 1 || values[0] == "" {
			return nil, fmt.Errorf("option %q: want it once, with a value", key)
		}
	}
	p.query.Fleet, p.query.Class = options.Get("fleet"), options.Get("class")
	p.access = fleet.Access{Creds: options.Get("creds"), NKey: options.Get("nkey"), CA: options.Get("ca")}
	if p.compress, err = fleet.ParseCompression(options.Get("compress")); err != nil {
		return nil, err
	}
	if value := options.Get("reorder"); value != "" {
		if p.reorder, err = time.ParseDuration(value); err != nil || p.reorder <= 0 || p.reorder > mostReorder {
			return nil, fmt.Errorf("reorder %q: want a time up to %v, such as 200ms", value, mostReorder)
		}
	}
	if p.replay, err = parseReplay(options, time.Now()); err != nil {
		return nil, err
	}
	if p.replay != nil && p.reorder > 0 {
		return nil, fmt.Errorf("reorder %v: a recording is replayed in the order of its stamps: want reorder without since, to and recording", p.reorder)
	}
	return p, p.query.Check()
}

// DialFleet connects to the server of a fleet's source, and returns which devices the source has.
func (s Spec) DialFleet() (*nats.Conn, fleet.Query, error) {
	p, ok := s.plan.(natsPlan)
	switch {
	case !ok:
		return nil, fleet.Query{}, fmt.Errorf("%q: %s", s.String(), wantNATS)
	case p.replay != nil:
		return nil, fleet.Query{}, fmt.Errorf("%q: it is a recording: want it without since", s.String())
	}
	nc, err := dialer.NATS(p.server, p.access)
	return nc, p.query, err
}

// address returns HOST:PORT of the server.
func (p natsPlan) address() string {
	u, err := url.Parse(p.server)
	if err != nil {
		return "" // parseNATS has made it
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), strconv.Itoa(nats.DefaultPort)))
}

// inspect connects, and finds the devices.
func (p natsPlan) inspect(ctx context.Context) (opener, func(), error) {
	nc, err := dialer.NATS(p.server, p.access)
	if err != nil {
		return nil, nil, err
	}
	query := p.query
	query.Recorded = p.replay != nil
	hosts, err := fleet.Discover(ctx, nc, query)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return func(c Config) (*Feed, error) {
		if p.replay != nil {
			return p.openReplay(nc, hosts, c)
		}
		return p.open(nc, hosts, c)
	}, nc.Close, nil
}

func (p natsPlan) open(nc *nats.Conn, hosts []fleet.Host, c Config) (*Feed, error) {
	r, err := fleet.NewReader(nc, hosts, fleet.ReaderConfig{Namespace: c.Namespace, Query: p.query, Compress: p.compress, Reorder: p.reorder, Name: c.name, Failed: c.Failed})
	if err != nil {
		return nil, err
	}
	return &Feed{devices: r.Devices, origin: r.Origin, hosts: hosts, clocks: r.Clocks, discard: func() { r.Close(); nc.Close() }, start: func() (Running, error) {
		return runningFleet{r, nc}, r.Start()
	}}, nil
}

type runningFleet struct {
	*fleet.Reader
	nc *nats.Conn
}

func (r runningFleet) Close() error {
	err := r.Reader.Close()
	r.nc.FlushTimeout(leaveTime) // the sessions' ends
	r.nc.Close()
	return err
}

func (runningFleet) Done() <-chan struct{} { return nil }

func (r runningFleet) Counters() map[string]uint64 {
	c := r.Reader.Counts()
	all := fleetCounters(c)
	all["late"] = c.Late
	return all
}

// DeviceCounters are those of one device.
func (r runningFleet) DeviceCounters(d *rxring.Device) map[string]uint64 {
	return fleetCounters(r.Reader.DeviceCounts(d))
}

func fleetCounters(c fleet.Counts) map[string]uint64 {
	return map[string]uint64{
		"packets": c.Packets, "bytes": c.Bytes, "cut": c.Cut, "unseen": c.Unseen,
		"batches": c.Batches, "received_bytes": c.Received, "sessions": c.Sessions,
		"lost_before_device": c.Lost.BeforeDevice, "lost_far_ring": c.Lost.FarRing, "lost_transit": c.Lost.Transit,
	}
}

// Clocks measures the clocks of the hosts of a fleet's devices; nil for other sources.
func (f *Feed) Clocks(ctx context.Context) map[*rxring.Device]fleet.Clock {
	if f.clocks == nil {
		return nil
	}
	return f.clocks(ctx)
}

// Origin returns where a device's packets are from: the spec or, in a fleet, HOST/DEVICE.
func (f *Feed) Origin(d *rxring.Device) string {
	if f.origin != nil {
		if o := f.origin(d); o != "" {
			return o
		}
	}
	return f.Spec.WithoutName()
}

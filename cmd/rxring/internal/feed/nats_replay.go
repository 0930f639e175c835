package feed

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/fleet"
)

// replayPlan are the options of a recording.
type replayPlan struct {
	recording string
	since, to time.Time // zero: the beginning; the time of the start
}

// wantTime is what since and to accept.
const wantTime = "want how long ago, such as 10m, or a time such as 2026-11-28T15:04:05Z"

// parseReplay returns nil if no option is of a recording.
func parseReplay(options url.Values, now time.Time) (_ *replayPlan, err error) {
	p := replayPlan{recording: options.Get("recording")}
	if !options.Has("since") {
		for _, key := range []string{"recording", "to"} {
			if options.Has(key) {
				return nil, fmt.Errorf("option %q: it has no effect without since: want since=10m, for instance, or since=start", key)
			}
		}
		return nil, nil
	}
	if options.Has("compress") {
		return nil, errors.New(`option "compress": a recording is compressed already: want it without since`)
	}
	if text := options.Get("since"); text != "start" {
		if p.since, err = parseTime(text, now); err != nil {
			return nil, fmt.Errorf("since=%s: %s, or start", text, wantTime)
		}
	}
	if text := options.Get("to"); text != "" {
		if p.to, err = parseTime(text, now); err != nil {
			return nil, fmt.Errorf("to=%s: %s", text, wantTime)
		}
		if p.to.After(now) || !p.to.After(p.since) {
			return nil, fmt.Errorf("to=%s: want a time after since, and not in the future", text)
		}
	}
	return &p, nil
}

func parseTime(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Parse(time.RFC3339Nano, text)
}

// Recordings returns the names of a device's recordings, when the feed was opened.
func (f *Feed) Recordings(d *rxring.Device) (names []string) {
	for _, h := range f.hosts {
		for _, far := range h.Devices {
			if h.Name+"/"+far.Name != f.Origin(d) {
				continue
			}
			for _, r := range far.Recordings {
				names = append(names, r.Name)
			}
		}
	}
	return names
}

func (p natsPlan) openReplay(nc *nats.Conn, hosts []fleet.Host, c Config) (*Feed, error) {
	waits := new(patience)
	r, err := fleet.NewReplay(nc, hosts, fleet.ReplayConfig{
		Namespace: c.Namespace, Query: p.query, Name: c.name, Failed: c.Failed,
		Recording: p.replay.recording, Since: p.replay.since, To: p.replay.to,
		Wait: true, Room: waits.room,
	})
	if err != nil {
		return nil, err
	}
	waits.devices = r.Devices()
	return &Feed{devices: r.Devices, origin: r.Origin, hosts: hosts, Finite: true, discard: func() { r.Close(); nc.Close() }, start: func() (Running, error) {
		if !c.Patient {
			return nil, errors.New("since: a recording waits for its readers, which must be one user's: want it without since, or with rxring run or dump")
		}
		return runningReplay{r, nc}, r.Start()
	}}, nil
}

type runningReplay struct {
	*fleet.Replay
	nc *nats.Conn
}

func (r runningReplay) Close() error {
	err := r.Replay.Close()
	r.nc.Close()
	return err
}

func (r runningReplay) Counters() map[string]uint64 {
	c := r.Counts()
	return map[string]uint64{
		"packets": c.Packets, "bytes": c.Bytes, "cut": c.Cut, "unseen": c.Unseen,
		"batches": c.Batches, "received_bytes": c.Received,
		"lost_before_device": c.Lost.BeforeDevice, "lost_far_ring": c.Lost.FarRing,
		"lost_transit": c.Lost.Transit, "lost_retention": c.Lost.Retention,
	}
}

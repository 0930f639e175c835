package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring/internal/explain"
)

// HostStatus has the devices of a host, its sessions and its recordings.
type HostStatus struct {
	Name       string            `json:"name"`
	Devices    []Device          `json:"devices"`
	Sessions   []SessionStatus   `json:"sessions"` // the oldest first
	Recordings []RecordingStatus `json:"recordings"`
	Err        error             `json:"-"` // why the rest is missing
}

// RecordingStatus has what a recording of a device has counted since it began: as those of
// [SessionStatus], except that Packets are stored, or wait for the server to store them.
type RecordingStatus struct {
	Recording string `json:"recording"`
	Device    string `json:"device"`
	Class     string `json:"class"`
	Offered   uint64 `json:"offered"`
	Packets   uint64 `json:"packets"`
	Dropped   uint64 `json:"dropped"`
	Lost      uint64 `json:"lost"`
	Batches   uint64 `json:"batches"`
	Bytes     uint64 `json:"bytes"` // of batches
}

// SessionStatus describes a session. Its counts are of packets since it was opened: Offered is the
// sum of Packets, Dropped, Lost, and those that the session has not published yet.
type SessionStatus struct {
	Session      string         `json:"session"`
	Device       string         `json:"device"`
	Class        string         `json:"class"`
	Opened       time.Time      `json:"opened"`            // by the host's clock
	Filter       string         `json:"filter,omitempty"`  // as tcpdump -ddd prints it, with commas for newlines; "": none, or no room
	Instructions int            `json:"instructions"`      // of the filter
	Snaplen      int            `json:"snaplen,omitempty"` // bytes of each packet; 0: all
	Compress     Compression    `json:"compress"`
	ReaderCount  int            `json:"reader_count"`
	Readers      []ReaderStatus `json:"readers"` // at most 16, those with the most Transit first; none: no room

	Offered uint64 `json:"offered"` // accepted by the filter
	Packets uint64 `json:"packets"` // published
	Dropped uint64 `json:"dropped"` // the session's ring was full
	Lost    uint64 `json:"lost"`    // before the host's device
	Cut     uint64 `json:"cut"`     // packets that were truncated
	Batches uint64 `json:"batches"` // published
	Bytes   uint64 `json:"bytes"`   // of batches
}

// ReaderStatus is a reader of a session, as it describes itself.
type ReaderStatus struct {
	User    string `json:"user"`    // USER@HOST
	Transit uint64 `json:"transit"` // packets that its device has lost in transit until it last kept the session
}

// maxReaderStatus bounds SessionStatus.Readers, so that an answer fits into a message.
const maxReaderStatus = 16

// Status asks hosts for the sessions of q.Class. The result has each host, in the same order;
// those that do not answer have Err.
func Status(ctx context.Context, nc *nats.Conn, q Query, hosts []Host) ([]HostStatus, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	all := make([]HostStatus, len(hosts))
	var wg sync.WaitGroup
	free := make(chan struct{}, maxAsked)
	for i, h := range hosts {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			all[i] = statusOf(ctx, nc, &q, h.Name)
		})
	}
	wg.Wait()
	return all, ctx.Err()
}

// statusOf asks a host.
func statusOf(ctx context.Context, nc *nats.Conn, q *Query, host string) HostStatus {
	h := HostStatus{Name: host}
	a, err := ask(ctx, nc, controlSubject(q.Fleet, host, q.Class), request{Op: opStat})
	if err != nil {
		h.Err = err
		return h
	}
	unasked := func(device string) bool { return !matches(q.Devices, device) }
	h.Devices = slices.DeleteFunc(a.Devices, func(d Device) bool { return unasked(d.Name) })
	h.Sessions = slices.DeleteFunc(a.Sessions, func(s SessionStatus) bool { return unasked(s.Device) })
	h.Recordings = slices.DeleteFunc(a.Recordings, func(r RecordingStatus) bool { return unasked(r.Device) })
	return h
}

// ask sends a request to a host, and returns its answer.
func ask(ctx context.Context, nc *nats.Conn, control string, q request) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	text, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	m, err := nc.RequestWithContext(ctx, control, text)
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded) {
		return nil, explain.Errorf(err, "it does not answer")
	}
	if err != nil {
		return nil, err
	}
	a := new(answer)
	if err := json.Unmarshal(m.Data, a); err != nil {
		return nil, fmt.Errorf("answer of %d bytes: %w", len(m.Data), err)
	}
	if a.Error != nil {
		return nil, a.Error
	}
	return a, nil
}

// Status returns the status of all classes.
func (s *Shipper) Status() HostStatus {
	h := HostStatus{Name: s.cfg.Host, Sessions: s.sessionsOf(nil), Recordings: s.records.status(nil)}
	for _, d := range s.ns.Devices() {
		if s.offered(d) {
			h.Devices = append(h.Devices, describe(d))
		}
	}
	return h
}

// status answers opStat. What readers have sent is left out if a message has no room for it.
func (s *Shipper) status(class *Class) *answer {
	a := &answer{Devices: s.devices(class), Sessions: s.sessionsOf(class), Recordings: s.records.status(class)}
	if text, err := json.Marshal(a); err == nil && int64(len(text)) > s.nc.MaxPayload() {
		for i := range a.Sessions {
			a.Sessions[i].Filter, a.Sessions[i].Readers = "", []ReaderStatus{}
		}
	}
	return a
}

// sessionsOf returns the sessions of a class; nil: of all classes.
func (s *Shipper) sessionsOf(class *Class) []SessionStatus {
	s.mu.Lock()
	sessions := slices.DeleteFunc(slices.Clone(s.sessions), func(c *session) bool { return class != nil && c.class != class })
	readers := make([][]ReaderStatus, len(sessions))
	for i, c := range sessions {
		for _, l := range c.readers {
			readers[i] = append(readers[i], ReaderStatus{User: l.user, Transit: l.transit})
		}
	}
	s.mu.Unlock()
	all := []SessionStatus{}
	for i, c := range sessions {
		status := c.status() // without s.mu: it waits while the session publishes
		status.ReaderCount = len(readers[i])
		slices.SortFunc(readers[i], func(a, b ReaderStatus) int {
			return cmp.Or(cmp.Compare(b.Transit, a.Transit), cmp.Compare(a.User, b.User))
		})
		status.Readers = readers[i][:min(len(readers[i]), maxReaderStatus)]
		all = append(all, status)
	}
	return all
}

// status returns what a session is and has counted, without its readers.
func (c *session) status() SessionStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.totalsLocked()
	return SessionStatus{
		Session: c.name, Device: c.dev.Name(), Class: c.class.Name, Opened: c.encoder.start,
		Filter: c.what.filter(), Instructions: c.what.instructions(), Snaplen: c.what.Snaplen, Compress: c.what.Compress,
		Offered: n.Offered, Packets: n.Packets, Dropped: n.Dropped, Lost: n.Lost, Cut: n.Cut, Batches: n.Batches, Bytes: c.bytes,
	}
}

// status returns the status of the recordings of a class; nil: of all classes.
func (r *records) status(class *Class) (all []RecordingStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for d, known := range r.devices {
		for i, rec := range known.recorders {
			if info := known.infos[i]; class == nil || info.Class == class.Name {
				st := rec.tap.Stats()
				all = append(all, RecordingStatus{
					Recording: info.Name, Device: d.Name(), Class: info.Class,
					Offered: st.Offered - min(st.Refused, st.Offered), Packets: rec.packets.Load(), Dropped: st.Dropped, Lost: st.Lost,
					Batches: rec.batches.Load(), Bytes: rec.bytes.Load(),
				})
			}
		}
	}
	slices.SortFunc(all, func(a, b RecordingStatus) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Recording, b.Recording))
	})
	return all
}

// Total has what all sessions of a device and class together have counted since the shipper
// began, as in [SessionStatus].
type Total struct {
	Device, Class                                        string
	Sessions, Readers                                    int // open
	Offered, Packets, Dropped, Lost, Cut, Batches, Bytes uint64
}

// Totals returns a total for each device and class that have had a session. Until Close, no count
// decreases.
func (s *Shipper) Totals() []Total {
	s.mu.Lock()
	defer s.mu.Unlock()
	sums := make(map[totalKey]*Total)
	for key, t := range s.totals { // of sessions that have ended
		sums[key] = &t
	}
	for _, c := range s.sessions {
		t := sums[c.totalKey()]
		if t == nil {
			t = &Total{Device: c.dev.Name(), Class: c.class.Name}
			sums[c.totalKey()] = t
		}
		t.add(c.status())
		t.Sessions++
		t.Readers += len(c.readers)
	}
	var all []Total
	for _, t := range sums {
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b Total) int { return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Class, b.Class)) })
	return all
}

type totalKey struct{ device, class string }

func (c *session) totalKey() totalKey { return totalKey{c.dev.Name(), c.class.Name} }

func (t *Total) add(s SessionStatus) {
	t.Offered += s.Offered
	t.Packets += s.Packets
	t.Dropped += s.Dropped
	t.Lost += s.Lost
	t.Cut += s.Cut
	t.Batches += s.Batches
	t.Bytes += s.Bytes
}

// addTotalLocked keeps the counts of a session that has ended.
func (s *Shipper) addTotalLocked(c *session) {
	t := s.totals[c.totalKey()]
	t.Device, t.Class = c.dev.Name(), c.class.Name
	t.add(c.status())
	s.totals[c.totalKey()] = t
}

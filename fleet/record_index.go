package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rxring/rxring"
)

// indexStream is a stream beside those of the recordings, with a message that describes each. With
// it, recordings are found while their host does not answer.
const indexStream = "rxring-index"

const (
	maxIndex   = 16 << 20 // bytes of the stream
	maxIndexed = 64 << 10 // bytes of a description
	indexFetch = 1000     // descriptions that are requested at once
)

// indexed describes a recording.
type indexed struct {
	Host   string `json:"host"`
	Device Device `json:"device"` // with this recording alone
}

func (e *indexed) recording() *RecordingInfo { return &e.Device.Recordings[0] }

// createIndex creates the index of the server, which all its hosts have in common.
func (r *records) createIndex(ctx context.Context) error {
	_, err := r.createOrUpdate(ctx, jetstream.StreamConfig{
		Name:              indexStream,
		Description:       "rxring: which recordings there are",
		Subjects:          []string{indexSubject("*", "*", "*", "*", "*")},
		MaxMsgsPerSubject: 1,
		MaxMsgSize:        maxIndexed,
		MaxBytes:          maxIndex,
	})
	return err
}

// addToIndex describes a recording of a device.
func (r *records) addToIndex(d *rxring.Device, info RecordingInfo) error {
	e := indexed{r.s.cfg.Host, describe(d)}
	e.Device.Recordings = []RecordingInfo{info}
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.ctx, streamTime)
	defer cancel()
	subject := indexSubject(token(r.s.cfg.Fleet), token(e.Host), token(d.Name()), info.Class, token(info.Name))
	_, err = r.js.Publish(ctx, subject, text, jetstream.WithExpectStream(indexStream))
	return err
}

// addIndexed adds to hosts the devices whose recordings nc's server has, and that their hosts do
// not list.
func addIndexed(ctx context.Context, nc *nats.Conn, q *Query, hosts []Host) ([]Host, error) {
	all, err := readIndex(ctx, nc, q)
	if err != nil {
		return hosts, err
	}
	all = slices.DeleteFunc(all, func(e indexed) bool { return lists(hosts, &e) })
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		free = make(chan struct{}, maxAsked)
	)
	for i := range all {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			if !stored(ctx, nc, q, &all[i]) {
				return // it was deleted
			}
			mu.Lock()
			defer mu.Unlock()
			hosts = addRecorded(hosts, &all[i])
		})
	}
	wg.Wait()
	slices.SortFunc(hosts, func(a, b Host) int { return strings.Compare(a.Name, b.Name) })
	return hosts, nil
}

// readIndex returns the descriptions that q selects. A server without an index has none.
func readIndex(ctx context.Context, nc *nats.Conn, q *Query) (all []indexed, err error) {
	s, err := newStreamReader(nc, "", indexStream, indexSubject(token(q.Fleet), "*", "*", q.Class, "*"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, streamTime)
	defer cancel()
	c, err := s.consumer(ctx, jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	for _, none := range []error{jetstream.ErrStreamNotFound, jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount, nats.ErrNoResponders} {
		if errors.Is(err, none) {
			return nil, nil
		}
	}
	if err != nil {
		return nil, err
	}
	for left := min(int(c.CachedInfo().NumPending), maxHosts); left > 0; left -= indexFetch {
		batch, err := c.Fetch(min(left, indexFetch), jetstream.FetchContext(ctx))
		if err != nil {
			return nil, err
		}
		for m := range batch.Messages() {
			var e indexed
			if json.Unmarshal(m.Data(), &e) == nil && e.valid(m.Subject(), q) && matches(q.Hosts, e.Host) && matches(q.Devices, e.Device.Name) {
				all = append(all, e)
			}
		}
		if err := batch.Error(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// valid reports whether a description is of what its subject names, to which NATS may limit who
// publishes.
func (e *indexed) valid(subject string, q *Query) bool {
	return len(e.Device.Recordings) == 1 && checkName("host", e.Host) == nil && checkName("device", e.Device.Name) == nil &&
		subject == indexSubject(token(q.Fleet), token(e.Host), token(e.Device.Name), q.Class, token(e.recording().Name))
}

// lists reports whether a host's own list has the recording.
func lists(hosts []Host, e *indexed) bool {
	for _, h := range hosts {
		for _, d := range h.Devices {
			if h.Name == e.Host && d.Name == e.Device.Name && slices.ContainsFunc(d.Recordings, func(r RecordingInfo) bool { return r.Name == e.recording().Name }) {
				return true
			}
		}
	}
	return false
}

// stored reports whether there is a stream of the recording.
func stored(ctx context.Context, nc *nats.Conn, q *Query, e *indexed) bool {
	s, err := newRecordingReader(nc, q, e.Host, e.Device.Name, e.recording())
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, streamTime)
	defer cancel()
	_, err = s.consumer(ctx, jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverLastPolicy})
	return err == nil
}

// addRecorded adds the recording to the device that hosts has, or the device.
func addRecorded(hosts []Host, e *indexed) []Host {
	i := slices.IndexFunc(hosts, func(h Host) bool { return h.Name == e.Host })
	if i < 0 {
		return append(hosts, Host{Name: e.Host, Devices: []Device{e.Device}})
	}
	h := &hosts[i]
	h.Err = nil // the index has what is missing
	j := slices.IndexFunc(h.Devices, func(d Device) bool { return d.Name == e.Device.Name })
	if j < 0 {
		h.Devices = append(h.Devices, e.Device)
	} else {
		h.Devices[j].Recordings = append(h.Devices[j].Recordings, *e.recording())
	}
	return hosts
}

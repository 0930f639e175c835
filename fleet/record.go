package fleet

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/source/file/tap"
)

// Recording says what a [Shipper] records of each of its devices, all the time. Each device has a
// JetStream stream for it, in the server of the shipper's connection. Only Name must be set.
type Recording struct {
	Name  string
	Class string // whose readers alone may replay it, and whose grant limits it; "": DefaultClass

	// Program returns the filter for a device, for packets of its link type in files; nil, or no
	// program: everything. Filter is the expression that it was compiled from, for readers.
	Program func(*rxring.Device) ([]cbpf.Instruction, error)
	Filter  string

	Snaplen int           // bytes of each packet; 0: all
	Size    int64         // bytes of each device's stream, at least 1 MiB; 0: 1 GiB. The oldest batches are deleted.
	Age     time.Duration // batches that are older are deleted; at least 1 s; 0: none is too old
}

// Limits of a recording.
const (
	defaultSize = 1 << 30
	minSize     = 1 << 20
	minAge      = time.Second
	maxRecords  = 64 // recordings of a device
)

func (r *Recording) check(classes []Class) error {
	if err := checkName("recording", r.Name); err != nil {
		return err
	}
	r.Size, r.Class = cmp.Or(r.Size, defaultSize), orClass(r.Class)
	switch {
	case findClass(classes, r.Class) == nil:
		return fmt.Errorf("recording %q: class %q: %s", r.Name, r.Class, suggest.Among(r.Class, names(classes)))
	case r.Snaplen < 0 || r.Snaplen > tap.MaxSnaplen:
		return fmt.Errorf("recording %q: snaplen %d: want 1 to %d bytes, or 0 for whole packets", r.Name, r.Snaplen, tap.MaxSnaplen)
	case r.Size < minSize:
		return fmt.Errorf("recording %q: size %d: want at least %d bytes", r.Name, r.Size, minSize)
	case r.Age != 0 && r.Age < minAge:
		return fmt.Errorf("recording %q: age %v: want at least %v, or 0 for no limit", r.Name, r.Age, minAge)
	}
	return nil
}

func checkRecordings(all []Recording, classes []Class) error {
	if len(all) > maxRecords {
		return fmt.Errorf("%d recordings: want at most %d", len(all), maxRecords)
	}
	for i := range all {
		if err := all[i].check(classes); err != nil {
			return err
		}
		if slices.ContainsFunc(all[:i], func(r Recording) bool { return r.Name == all[i].Name }) {
			return fmt.Errorf("recording %q: want each name once", all[i].Name)
		}
	}
	return nil
}

// RecordingInfo describes a recording of a device to readers.
type RecordingInfo struct {
	Name    string        `json:"name"`
	Class   string        `json:"class"`
	Filter  string        `json:"filter,omitempty"`
	Snaplen int           `json:"snaplen,omitempty"`
	Size    int64         `json:"size"`
	Age     time.Duration `json:"age,omitempty"`
	Stream  string        `json:"stream"`           // of JetStream
	Domain  string        `json:"domain,omitempty"` // of JetStream; "": the hub's own
}

// maxStream is the length of the longest name of a stream, in bytes (JSMaxNameLen is 255).
const maxStream = 200

// streamName returns the name of a recording's stream: readable, and unique by its hash.
func streamName(fleet, host, device, class, recording string) string {
	sum := sha256.Sum256([]byte(recordSubject(fleet, host, device, class, recording)))
	name := "rxring-" + token(host) + "-" + token(device) + "-" + token(class) + "-" + token(recording)
	return name[:min(len(name), maxStream)] + "-" + hex.EncodeToString(sum[:6])
}

// records are a shipper's recordings.
type records struct {
	s      *Shipper
	js     jetstream.JetStream
	domain string
	ctx    context.Context // until close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	devices map[*rxring.Device]*deviceRecords
}

// deviceRecords are the recordings of a device. A device without one, because of err, is tried
// again.
type deviceRecords struct {
	infos     []RecordingInfo
	recorders []*recorder // one for each of infos
	err       string
}

const (
	// streamTime bounds a request to JetStream.
	streamTime = 5 * time.Second
	// appearTime is how soon the recordings of a device begin that is added later.
	appearTime = time.Second
)

// startRecords starts the recordings of all devices.
func startRecords(s *Shipper) (*records, error) {
	r := &records{s: s, devices: make(map[*rxring.Device]*deviceRecords)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if len(s.cfg.Recordings) == 0 {
		return r, nil
	}
	var err error
	if r.js, err = jetstream.New(s.nc, jetstream.WithPublishAsyncTimeout(streamTime)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.ctx, streamTime)
	defer cancel()
	account, err := r.js.AccountInfo(ctx)
	switch refused := refusedSubject(s.nc, "$JS.API.INFO"); {
	case err != nil && refused != "":
		return nil, explain.Errorf(syscall.EACCES, "recordings: the NATS server does not allow this user %s: want a leaf node on this host for them, `rxring ship --leaf URL --store DIR`, or credentials that allow recordings at the hub, such as ship.creds of `rxring hub --init`", refused)
	case err != nil:
		return nil, fmt.Errorf("recordings: the server has no JetStream for them (%w): want `rxring hub --store DIR`, or a leaf node on this host: `rxring ship --leaf URL --store DIR`", err)
	}
	r.domain = account.Domain
	if err := r.createIndex(ctx); err != nil {
		return nil, fmt.Errorf("recordings: stream %s: %w", indexStream, err)
	}
	if err := r.update(); err != nil {
		r.close()
		return nil, err
	}
	r.warnOfNone()
	r.wg.Go(r.follow)
	return r, nil
}

// warnOfNone warns of recordings that have no device.
func (r *records) warnOfNone() {
	for _, c := range r.s.cfg.Recordings {
		class := findClass(r.s.cfg.Classes, c.Class)
		if !slices.ContainsFunc(r.s.ns.Devices(), func(d *rxring.Device) bool { return r.s.offers(d, class) }) {
			r.s.log.Warn("fleet: a recording has no device: none is offered to its class", "recording", c.Name, "class", c.Class)
		}
	}
}

// follow starts the recordings of devices that are added later.
func (r *records) follow() {
	tick := time.NewTicker(appearTime)
	defer tick.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
			r.update()
		}
	}
}

// update starts the recordings that devices do not have. One goroutine at a time may call it.
// Readers' requests do not wait for it, as it does for JetStream.
func (r *records) update() error {
	var errs []error
	devices := r.s.ns.Devices()
	r.mu.Lock()
	maps.DeleteFunc(r.devices, func(d *rxring.Device, _ *deviceRecords) bool { return !slices.Contains(devices, d) }) // their recorders end by themselves
	before := maps.Clone(r.devices)
	r.mu.Unlock()
	for _, d := range devices {
		known := before[d]
		if !r.s.offered(d) || known != nil && known.err == "" {
			continue
		}
		now := r.start(d)
		if now.err != "" && (known == nil || known.err != now.err) {
			r.s.log.Error("fleet: a device is not recorded", "device", d.Name(), "err", now.err)
			errs = append(errs, fmt.Errorf("device %s: %s", d.Name(), now.err))
		}
		r.mu.Lock()
		r.devices[d] = now
		r.mu.Unlock()
	}
	return errors.Join(errs...)
}

// start starts all recordings of a device, or none.
func (r *records) start(d *rxring.Device) *deviceRecords {
	var all []*recorder
	var infos []RecordingInfo
	for _, c := range r.s.cfg.Recordings {
		class := findClass(r.s.cfg.Classes, c.Class)
		if !class.allows(d) {
			continue
		}
		rec, err := r.newRecorder(d, class, c)
		if err == nil {
			infos = append(infos, RecordingInfo{Name: c.Name, Class: c.Class, Filter: c.Filter, Snaplen: c.Snaplen, Size: c.Size, Age: c.Age, Stream: rec.out.stream, Domain: r.domain})
			all = append(all, rec)
			err = r.addToIndex(d, infos[len(infos)-1])
		}
		if err != nil {
			for _, rec := range all {
				rec.tap.Close()
			}
			return &deviceRecords{err: fmt.Sprintf("recording %q: %v", c.Name, err)}
		}
	}
	for _, rec := range all {
		r.wg.Go(rec.run)
	}
	return &deviceRecords{infos: infos, recorders: all}
}

// of returns the recordings of a device for a class's readers.
func (r *records) of(d *rxring.Device, class *Class) (all []RecordingInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.devices[d]; known != nil {
		for _, info := range known.infos {
			if info.Class == class.Name {
				all = append(all, info)
			}
		}
	}
	return all
}

// close ends the recordings: what was captured is stored, if the server is there.
func (r *records) close() {
	r.cancel()
	r.wg.Wait()
}

// duplicateWindow is how long the server refuses a second copy of a batch.
const duplicateWindow = 2 * time.Minute

// createStream creates or updates the stream of a recording.
func (r *records) createStream(d *rxring.Device, c Recording) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(r.ctx, streamTime)
	defer cancel()
	cfg := jetstream.StreamConfig{
		Name:        streamName(r.s.cfg.Fleet, r.s.cfg.Host, d.Name(), c.Class, c.Name),
		Description: fmt.Sprintf("rxring: recording %s of device %s of host %s", c.Name, d.Name(), r.s.cfg.Host),
		Subjects:    []string{recordSubject(r.s.cfg.Fleet, r.s.cfg.Host, d.Name(), c.Class, c.Name)},
		MaxBytes:    c.Size,
		MaxAge:      c.Age,
		Duplicates:  duplicateWindow,
		AllowDirect: true,
	}
	if c.Age > 0 {
		cfg.Duplicates = min(c.Age, duplicateWindow)
	}
	return r.createOrUpdate(ctx, cfg)
}

// storageExceeded is the code of an error of JetStream (JSStorageResourcesExceededErr).
const storageExceeded jetstream.ErrorCode = 10047

// createOrUpdate creates or updates a stream. The store must have room for its size.
func (r *records) createOrUpdate(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := r.js.CreateOrUpdateStream(ctx, c)
	if e := new(jetstream.APIError); errors.As(err, &e) && e.ErrorCode == storageExceeded {
		return nil, fmt.Errorf("the store has no room for %d MiB: want a smaller size, or a store with more room", c.MaxBytes>>20)
	}
	return s, err
}

// Domain returns the name of a JetStream domain, and of a leaf node, for the server of a host.
func Domain(host string) string { return "rxring-" + token(host) }

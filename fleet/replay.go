package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/source/file/delivery"
)

// ReplayConfig configures a [Replay]. Only Namespace must be set.
type ReplayConfig struct {
	Namespace *rxring.Namespace
	Query     Query  // what Discover was given
	Recording string // its name; "": the only one
	Name      string // of the device, if there is one; "": its own

	// Packets captured from Since to To are delivered. The zero Since is the recording's
	// beginning; the zero To, and any later time than that of Start, is the time of Start.
	Since, To time.Time

	// Wait delays the start until programs are ready to read, as of file.Config.
	Wait bool

	// Room returns for how many of n packets there is room, as of file.Config; nil: for all.
	Room func(n int) int

	// Failed is called with errors that do not end the replay. It may be called concurrently.
	// nil: not called.
	Failed func(error)
}

// Replay delivers the packets of recordings to devices in a namespace, as one sequence in the order
// of their times, and ends. Its methods may be called concurrently.
//
// Packets that were deleted before they were read are counted as lost, as those are that were lost
// before they were recorded ([Losses]).
type Replay struct {
	cfg    ReplayConfig
	ctx    context.Context // until Close
	cancel context.CancelFunc
	done   chan struct{} // closed when nothing more is delivered
	tracks []*track

	batch     delivery.Batch
	begun     atomic.Bool
	delivered delivery.Counts
	batches   atomic.Uint64
	received  atomic.Uint64

	mu      sync.Mutex
	started bool
	err     error // why it ended early
	lost    Losses
}

// NewReplay adds a device for each device of hosts that has the recording. Nothing is requested
// before Start. nc stays open after Close.
func NewReplay(nc *nats.Conn, hosts []Host, c ReplayConfig) (*Replay, error) {
	if c.Namespace == nil {
		return nil, errors.New("fleet: no Namespace: want the one to add devices to")
	}
	if !c.To.IsZero() && !c.To.After(c.Since) {
		return nil, fmt.Errorf("fleet: since %v to %v: want a later end", c.Since, c.To)
	}
	r := &Replay{cfg: c, done: make(chan struct{})}
	found, err := recorded(hosts, c.Recording)
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	if c.Name != "" && len(found) != 1 {
		return nil, fmt.Errorf("fleet: name %q: there are %d devices: want no name, or a query for one", c.Name, len(found))
	}
	var unusable []error // of devices, as of NewReader
	for _, f := range found {
		t, err := newTrack(r, nc, f)
		if err != nil {
			unusable = append(unusable, err)
			continue
		}
		r.tracks = append(r.tracks, t)
	}
	if len(r.tracks) == 0 {
		return nil, errors.Join(unusable...)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.batch = delivery.Batch{Context: r.ctx, Counts: &r.delivered, Room: c.Room}
	for _, err := range append(unusable, errs(hosts)...) {
		r.failed(err)
	}
	return r, nil
}

// recordedDevice is a device with its recording.
type recordedDevice struct {
	host string
	far  Device
	info RecordingInfo
}

// recorded returns the devices that have a recording; "" is the name of the only one.
func recorded(hosts []Host, name string) (found []recordedDevice, err error) {
	var names []string
	for _, h := range hosts {
		for _, d := range h.Devices {
			for _, info := range d.Recordings {
				if !slices.Contains(names, info.Name) {
					names = append(names, info.Name)
				}
				if name == "" || info.Name == name {
					found = append(found, recordedDevice{h.Name, d, info})
				}
			}
		}
	}
	switch slices.Sort(names); {
	case names == nil:
		return nil, errors.New("none of the devices is recorded: want `rxring ship --keep NAME=FILTER` on their hosts")
	case name == "" && len(names) > 1:
		return nil, fmt.Errorf("there are %d recordings: want recording=NAME, one of %s", len(names), strings.Join(names, ", "))
	case found == nil:
		return nil, fmt.Errorf("no recording %q: %s", name, suggest.Among(name, names))
	}
	return found, nil
}

// Start finds what the recordings have until now, and begins to deliver it.
func (r *Replay) Start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.ctx.Err() != nil {
		return errors.New("fleet: the replay was started or closed before")
	}
	r.started = true
	if err := r.open(); err != nil {
		r.cancel()
		close(r.done)
		return fmt.Errorf("fleet: %w", err)
	}
	go func() {
		defer close(r.done)
		defer r.closeTracks()
		if err := r.run(); err != nil && r.ctx.Err() == nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.err = fmt.Errorf("fleet: %w", err)
		}
	}()
	return nil
}

// open opens all recordings.
func (r *Replay) open() error {
	var wg sync.WaitGroup
	errs := make([]error, len(r.tracks))
	free := make(chan struct{}, maxAsked)
	for i, t := range r.tracks {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			if err := t.stream.open(r.ctx, r.cfg.Since); err != nil {
				errs[i] = t.wrap(err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// run delivers the packets. With those of several devices it always has the next packet of each.
func (r *Replay) run() error {
	if r.cfg.Wait {
		if err := delivery.AwaitReaders(r.ctx, r.Devices(), delivery.Wanted{}); err != nil {
			return err
		}
	}
	r.begun.Store(true)
	live := slices.Clone(r.tracks)
	var errs []error
	for {
		live = slices.DeleteFunc(live, func(t *track) bool {
			err := t.fill()
			if err != nil && r.ctx.Err() == nil {
				errs = append(errs, t.wrap(err))
			}
			return err != nil || t.ended
		})
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		if len(live) == 0 {
			return errors.Join(append(errs, r.batch.Flush())...)
		}
		if err := deliverEarliest(live); err != nil {
			return err
		}
	}
}

// deliverEarliest delivers packets of the track that has the earliest, until another has it or it
// has none.
func deliverEarliest(live []*track) error {
	first, until := live[0], int64(1<<63-1)
	for _, t := range live[1:] {
		switch at := t.packets[t.next].Timestamp; {
		case at < first.packets[first.next].Timestamp:
			until, first = first.packets[first.next].Timestamp, t
		case at < until:
			until = at
		}
	}
	for first.next < len(first.packets) && first.packets[first.next].Timestamp <= until {
		if err := first.r.batch.Add(first.dev, first.link, &first.packets[first.next]); err != nil {
			return err
		}
		first.next++
	}
	return nil
}

// lose counts lost packets, after those before them.
func (r *Replay) lose(d *rxring.Device, l Losses) error {
	n := l.sum()
	if n == 0 {
		return nil
	}
	err := r.batch.Flush()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost.add(l)
	d.Lost(n)
	return err
}

// Devices returns the devices.
func (r *Replay) Devices() (all []*rxring.Device) {
	for _, t := range r.tracks {
		all = append(all, t.dev)
	}
	return all
}

// Origin returns where a device's packets are from, as HOST/DEVICE; "" if it is not the replay's.
func (r *Replay) Origin(d *rxring.Device) string {
	for _, t := range r.tracks {
		if t.dev == d {
			return t.host + "/" + t.far.Name
		}
	}
	return ""
}

// Counts returns the counts so far.
func (r *Replay) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Counts{
		Packets:  r.delivered.Packets.Load(),
		Bytes:    r.delivered.Bytes.Load(),
		Unseen:   r.delivered.Unseen.Load(),
		Cut:      r.delivered.Cut.Load(),
		Batches:  r.batches.Load(),
		Received: r.received.Load(),
		Lost:     r.lost,
	}
}

// Begun reports whether packets are delivered, or have been.
func (r *Replay) Begun() bool { return r.begun.Load() }

// Done is closed when nothing more will be delivered.
func (r *Replay) Done() <-chan struct{} { return r.done }

// Close ends the replay, and returns once nothing more is delivered, with the error that had ended
// it before. The devices stay.
func (r *Replay) Close() error {
	r.mu.Lock()
	r.cancel()
	started := r.started
	r.mu.Unlock()
	if !started {
		return nil
	}
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *Replay) failed(err error) {
	if r.cfg.Failed != nil && r.ctx.Err() == nil {
		r.cfg.Failed(err)
	}
}

func (r *Replay) closeTracks() {
	for _, t := range r.tracks {
		t.close()
	}
}

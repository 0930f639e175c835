package pipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/delivery"
)

// Config configures a source. Only Namespace must be set.
type Config struct {
	Namespace *rxring.Namespace
	Name      string       // of the device of a stream with one interface; "": see [Stream.Add]
	Prefix    netip.Prefix // address of that device; zero: none
	Now       bool         // packets get the time at which they are delivered

	// Wait delays the first packet until Readers sockets are ready to read, as
	// [github.com/rxring/rxring/source/file.Config] says. Meanwhile the stream is not read,
	// and its writer may have to wait.
	Wait    bool
	Readers int           // 0: 1
	After   time.Duration // 0: as soon as they are ready

	// Room returns for how many of n packets there is room. While it returns 0 the stream is
	// not read. Nil means that there always is room: packets for which a reader's ring has
	// none are dropped there.
	Room func(n int) int

	// Reopen opens the stream again after its end or an error, until ctx ends. Interfaces
	// that it describes with the same name and link type keep their devices. Nil: the source
	// ends.
	Reopen func(ctx context.Context) (io.ReadCloser, error)

	// Failed is called with errors that do not end the source: an interface is left out, or
	// the stream failed and is opened again. It must not call methods of the source. nil: not
	// called.
	Failed func(error)
}

func (c *Config) check() error {
	switch {
	case c.Namespace == nil:
		return errors.New("no Namespace: want the one to add devices to")
	case c.Readers < 0, c.After < 0:
		return fmt.Errorf("begin after %v, with %d readers: want no negative values", c.After, c.Readers)
	}
	return nil
}

// Source delivers a stream to devices. Its methods may be called concurrently.
type Source struct {
	s       *Stream
	cfg     Config
	leftOut []error
	ready   atomic.Bool // awaitReaders has returned

	devices []*rxring.Device // by index of Stream.interfaces, nil: none; guarded by Stream.mu
	shown   []*rxring.Device // those that are not nil; never changed, but replaced with devices
}

// Start starts the delivery. Of the sources of one stream, one can be started.
func (src *Source) Start() error {
	s := src.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.source != nil {
		return errors.New("the stream has a source that was started: open the stream again")
	}
	s.source = src
	src.addMissingLocked()
	close(s.started)
	return nil
}

// Devices returns the devices so far, which the caller must not change. An interface that the
// stream describes later adds one.
func (src *Source) Devices() []*rxring.Device {
	src.s.mu.Lock()
	defer src.s.mu.Unlock()
	return src.shown
}

// addLocked adds the device of the next interface; nil: it has none.
func (src *Source) addLocked(d *rxring.Device) {
	src.devices = append(src.devices, d)
	if d != nil {
		src.shown = append(slices.Clip(src.shown), d)
	}
}

// LeftOut has an error for each interface that was described before Add and whose packets no
// device can show. Config.Failed gets those of later ones.
func (src *Source) LeftOut() []error { return src.leftOut }

// Done returns a channel that is closed once nothing more will be delivered: at the end, after an
// error, or by Close.
func (src *Source) Done() <-chan struct{} { return src.s.done }

// Begun reports whether the first packet was delivered: see [Config].Wait.
func (src *Source) Begun() bool { return src.ready.Load() }

// Close ends the source and its stream, and returns once nothing more will be delivered. Its
// error is why the stream had ended before; nil if that was its end. The devices stay. Before
// Start it does nothing: [Stream.Close] closes a stream that is not used.
func (src *Source) Close() error {
	select {
	case <-src.s.started:
	default:
		return nil
	}
	return src.s.Close()
}

// device returns the device of an interface, nil if it has none. Only run calls it: nothing else
// changes devices after Start.
func (src *Source) device(i int) *rxring.Device { return src.devices[i] }

func (src *Source) failed(err error) {
	if src.cfg.Failed != nil {
		src.cfg.Failed(err)
	}
}

func (src *Source) awaitReaders(ctx context.Context) error {
	if src.cfg.Wait {
		err := delivery.AwaitReaders(ctx, src.Devices(), delivery.Wanted{Readers: src.cfg.Readers, After: src.cfg.After})
		if err != nil {
			return err
		}
	}
	src.ready.Store(true)
	return nil
}

// Stats counts what was delivered so far.
type Stats struct {
	Packets, Bytes uint64
	Cut            uint64 // packets that were truncated when they were captured, delivered so
	Unseen         uint64 // packets delivered while their device had no sockets
	Lost           uint64 // packets that the writer reported as lost
	LeftOut        uint64 // packets of interfaces that have no device
	Reopened       uint64 // times that the stream was opened again
}

type counts struct {
	delivery.Counts
	lost, leftOut, reopened atomic.Uint64
}

// Stats returns the counts so far. They are not read at one instant.
func (src *Source) Stats() Stats {
	c := &src.s.counts
	return Stats{
		Packets:  c.Packets.Load(),
		Bytes:    c.Bytes.Load(),
		Cut:      c.Cut.Load(),
		Unseen:   c.Unseen.Load(),
		Lost:     c.lost.Load(),
		LeftOut:  c.leftOut.Load(),
		Reopened: c.reopened.Load(),
	}
}

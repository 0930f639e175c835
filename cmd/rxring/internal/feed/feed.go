package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/source/file"
	"github.com/rxring/rxring/source/file/capfile"
)

// Config configures feeds. Only Namespace must be set.
type Config struct {
	Namespace *rxring.Namespace

	// Patient makes a file wait for slow readers and otherwise play at full speed, unless it
	// has a speed: all readers are one user's. Otherwise a file plays at the pace at which it
	// was captured, and does not wait. A stream waits for slow readers for some time if
	// Patient is set, and otherwise not.
	Patient bool

	// Progress is called a few times a second with the part of a file that was delivered,
	// 0 to 1. nil: not called.
	Progress func(done float64)

	// Failed is called with errors that do not end a source: it cannot deliver although a
	// socket reads, and retries, or leaves out an interface of a stream. It may be called
	// concurrently. nil: not called.
	Failed func(error)

	name string // of the device; "": the kind's own
}

// Running is a source that has been started. Counters and Done may be called concurrently
// with the other methods.
type Running interface {
	// Close stops the source, and returns when it delivers nothing any more. Its error is
	// why the source had ended before.
	Close() error
	// Counters returns the source's own counters by name, such as KernelDrops.
	Counters() map[string]uint64
	// Done is closed when the source has ended; nil: it does not end by itself.
	Done() <-chan struct{}
}

// KernelDrops is the counter of packets for which the kernel's ring of a live interface
// had no room.
const KernelDrops = "kernel_drops"

// Feed is a source with its devices. Its methods must not be called concurrently, except
// Counters and Devices.
type Feed struct {
	Spec    Spec
	Finite  bool            // the source is a file or a stream that ends
	Returns bool            // the source is an interface, which may be created again after it was deleted
	LeftOut []error         // why interfaces of a file have no device
	Extras  *capfile.Extras // what a file or a stream has besides packets; nil: nothing

	devices func() []*rxring.Device
	origin  func(*rxring.Device) string // nil: the spec
	hosts   []fleet.Host                // of a fleet; nil: none
	clocks  func(context.Context) map[*rxring.Device]fleet.Clock
	start   func() (Running, error)
	discard func()  // closes what is open before start; nil: nothing
	running Running // nil: not started
	stopErr error   // why the source ended before Stop
}

// wrap names the source of an error. The spec has the path of a file already.
func (s Spec) wrap(err error) error {
	if e, ok := err.(*file.Error); ok {
		err = e.Err
	}
	return fmt.Errorf("%q: %w", s.String(), err)
}

// Open adds the devices to c.Namespace. Nothing is delivered yet.
func (i Inspected) Open(c Config) (*Feed, error) {
	c.name = i.Spec.name
	f, err := i.open(c)
	if err != nil {
		return nil, i.Spec.wrap(err)
	}
	f.Spec = i.Spec
	return f, nil
}

// Devices returns the devices, at least one. A stream may add further ones while it runs.
func (f *Feed) Devices() []*rxring.Device { return f.devices() }

// fixed returns a Feed.devices whose devices do not change.
func fixed(devices ...*rxring.Device) func() []*rxring.Device {
	return func() []*rxring.Device { return devices }
}

// Start starts the source.
func (f *Feed) Start() error {
	r, err := f.start()
	if err != nil {
		return f.Spec.wrap(err)
	}
	f.running = r
	return nil
}

// Done is closed when the source has ended; nil: it does not end by itself.
func (f *Feed) Done() <-chan struct{} {
	if f.running == nil {
		return nil
	}
	return f.running.Done()
}

// Ended reports whether the source has ended.
func (f *Feed) Ended() bool {
	select {
	case <-f.Done():
		return true
	default:
		return false
	}
}

// Waiting reports whether the source is a file or a stream that has not begun, since its
// devices have had no readers yet.
func (f *Feed) Waiting() bool {
	b, ok := f.running.(interface{ Begun() bool })
	return ok && !b.Begun() && !f.Ended()
}

// Counters returns the source's own counters. It may be called at any time after Start,
// concurrently with other methods.
func (f *Feed) Counters() map[string]uint64 {
	if f.running == nil {
		return nil
	}
	return f.running.Counters()
}

// DeviceCounters returns the source's counters of one of its devices, or those of all together
// where it has no others.
func (f *Feed) DeviceCounters(d *rxring.Device) map[string]uint64 {
	if r, ok := f.running.(interface {
		DeviceCounters(*rxring.Device) map[string]uint64
	}); ok {
		return r.DeviceCounters(d)
	}
	return f.Counters()
}

// Stop stops the source, or what Inspect has opened for it, and keeps the devices. Its error is why the source had ended before.
// Further calls return the same.
func (f *Feed) Stop() error {
	switch r := f.running; {
	case r == nil && f.discard != nil:
		f.discard()
	case r != nil && f.stopErr == nil:
		if err := r.Close(); err != nil {
			f.stopErr = f.Spec.wrap(err)
		}
	}
	return f.stopErr
}

// Close is Stop, and removes the devices: their readers get ENETDOWN.
func (f *Feed) Close() error {
	return errors.Join(f.Stop(), remove(f.Devices()))
}

// Watched reports whether a socket is on one of the devices.
func (f *Feed) Watched() bool { return slices.ContainsFunc(f.Devices(), (*rxring.Device).HasListeners) }

// Drain waits until readers have read everything that was delivered, or until ctx ends.
func (f *Feed) Drain(ctx context.Context) {
	for _, d := range f.Devices() {
		if d.Drain(ctx) != nil {
			return
		}
	}
}

// Finish is Close after Drain.
func (f *Feed) Finish(ctx context.Context) error {
	err := f.Stop()
	f.Drain(ctx)
	return errors.Join(err, remove(f.Devices()))
}

func remove(devices []*rxring.Device) error {
	var errs []error
	for _, d := range devices {
		if err := d.Namespace().RemoveDevice(d); !errors.Is(err, syscall.ENODEV) { // it went with its interface
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Names lists the devices' names, for messages.
func (f *Feed) Names() string {
	var names []string
	for _, d := range f.Devices() {
		names = append(names, d.Name())
	}
	return strings.Join(names, ", ")
}

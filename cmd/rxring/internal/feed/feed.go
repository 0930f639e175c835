package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file"
)

// Config says what devices are for. Only Namespace must be set.
type Config struct {
	Namespace *rxring.Namespace

	// Patient says that readers can be waited for: they are of one user, who wants
	// every packet of a file, and as soon as can be. Otherwise a file comes at the
	// pace in which it was captured, and waits for nobody.
	Patient bool

	// Progress is told how much of a file has come, a few times a second, by its
	// goroutine. nil: nobody is.
	Progress func(done float64)

	// Failed is told why nothing comes though somebody reads, and that is tried
	// again. nil: nobody is.
	Failed func(error)

	name string // of the device; "": the kind's own
}

// Running feeds a device. Counters and Done may be called concurrently with
// everything else.
type Running interface {
	// Close returns when nothing is delivered any more. Its error is why it had
	// ended before.
	Close() error
	// Counters are its own, by name: what no socket's counts can tell, such as
	// KernelDrops.
	Counters() map[string]uint64
	// Done is closed when nothing more will come; nil: that never happens by
	// itself.
	Done() <-chan struct{}
}

// KernelDrops is the counter of what a live interface's ring in the kernel had no
// room for.
const KernelDrops = "kernel_drops"

// Feed is devices, at least one, with what feeds it. Its methods are called by one goroutine, but
// for Counters.
type Feed struct {
	Spec    Spec
	Devices []*rxring.Device
	Finite  bool    // it is a file with an end
	Returns bool    // it is an interface, which may be made again when it was deleted
	LeftOut []error // what of a file no device can show, each with the reason

	start   func() (Running, error)
	running Running // nil: not started
	stopErr error   // what ended it before Stop
}

// wrap says which source an error is of. A file's path is in the spec already.
func (s Spec) wrap(err error) error {
	if e, ok := err.(*file.Error); ok {
		err = e.Err
	}
	return fmt.Errorf("%q: %w", s.String(), err)
}

// Open makes the devices. Nothing is delivered yet.
func (i Inspected) Open(c Config) (*Feed, error) {
	c.name = i.Spec.name
	f, err := i.open(c)
	if err != nil {
		return nil, i.Spec.wrap(err)
	}
	f.Spec = i.Spec
	return f, nil
}

// Start lets packets come.
func (f *Feed) Start() error {
	r, err := f.start()
	if err != nil {
		return f.Spec.wrap(err)
	}
	f.running = r
	return nil
}

// Done is closed when nothing more will come; nil: that never happens by itself.
func (f *Feed) Done() <-chan struct{} {
	if f.running == nil {
		return nil
	}
	return f.running.Done()
}

// Ended reports whether nothing more will come.
func (f *Feed) Ended() bool {
	select {
	case <-f.Done():
		return true
	default:
		return false
	}
}

// Waiting reports whether the source is a file that has not begun, because nobody has
// read its devices yet.
func (f *Feed) Waiting() bool {
	b, ok := f.running.(interface{ Begun() bool })
	return ok && !b.Begun() && !f.Ended()
}

// Counters are the source's own. It may be called at any time after Start,
// concurrently with everything.
func (f *Feed) Counters() map[string]uint64 {
	if f.running == nil {
		return nil
	}
	return f.running.Counters()
}

// Stop ends what feeds the devices, which stay. Its error is why that had ended
// before. Stopping again returns the same.
func (f *Feed) Stop() error {
	if r := f.running; r != nil && f.stopErr == nil {
		if err := r.Close(); err != nil {
			f.stopErr = f.Spec.wrap(err)
		}
	}
	return f.stopErr
}

// Close is Stop, and takes the devices away: who reads them gets ENETDOWN.
func (f *Feed) Close() error {
	return errors.Join(f.Stop(), remove(f.Devices))
}

// Watched reports whether a socket is on one of the devices.
func (f *Feed) Watched() bool { return slices.ContainsFunc(f.Devices, (*rxring.Device).HasListeners) }

// Drain waits until readers have read everything that was delivered, or until ctx ends.
func (f *Feed) Drain(ctx context.Context) {
	for _, d := range f.Devices {
		if d.Drain(ctx) != nil {
			return
		}
	}
}

// Finish is Close after Drain.
func (f *Feed) Finish(ctx context.Context) error {
	err := f.Stop()
	f.Drain(ctx)
	return errors.Join(err, remove(f.Devices))
}

func remove(devices []*rxring.Device) error {
	var errs []error
	for _, d := range devices {
		errs = append(errs, d.Namespace().RemoveDevice(d))
	}
	return errors.Join(errs...)
}

// Names are the devices' names, for messages.
func (f *Feed) Names() string {
	var names []string
	for _, d := range f.Devices {
		names = append(names, d.Name())
	}
	return strings.Join(names, ", ")
}

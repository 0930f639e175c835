package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/feed"
)

// sources are what feeds the devices. describe is called by any goroutine, the others
// by one.
type sources struct {
	ns  *rxring.Namespace
	log *slog.Logger

	waiting sync.WaitGroup // for sources to end by themselves
	ctx     context.Context
	stop    context.CancelFunc

	mu    sync.Mutex
	feeds []*feed.Feed
}

func newSources(ns *rxring.Namespace, log *slog.Logger) *sources {
	s := &sources{ns: ns, log: log}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// change is what is to be done so that others run.
type change struct {
	gone  []*feed.Feed
	fresh []*feed.Feed // their devices are there, and nothing comes yet
	later []feed.Spec  // those whose names are not free before gone are

	started []*feed.Feed // by commit
}

// prepare finds out what it takes to have those of want run and no others, and makes
// the devices. Who is there already goes on. When it fails, all is as before.
func (s *sources) prepare(want []feed.Spec) (*change, error) {
	c := new(change)
	var stay []*feed.Feed
	missing := slices.Clone(want)
	for _, f := range s.list() {
		if i := slices.IndexFunc(missing, func(w feed.Spec) bool { return w.String() == f.Spec.String() }); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
			stay = append(stay, f)
		} else {
			c.gone = append(c.gone, f)
		}
	}
	for _, w := range missing {
		f, err := w.Open(feed.Config{Namespace: s.ns, Failed: s.failing(w)})
		switch {
		case err == nil:
			c.fresh = append(c.fresh, f)
		case len(c.gone) > 0 && errors.Is(err, syscall.EEXIST):
			c.later = append(c.later, w)
		default:
			return nil, errors.Join(fmt.Errorf("source %w", err), closeAll(c.fresh))
		}
	}
	if c.later != nil {
		if err := rehearse(stay, missing); err != nil {
			return nil, errors.Join(err, closeAll(c.fresh))
		}
	}
	return c, nil
}

// rehearse says whether the sources can be opened beside those that stay, when all
// others are gone.
func rehearse(stay []*feed.Feed, specs []feed.Spec) error {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	for _, f := range stay {
		for _, d := range f.Devices {
			if _, err := ns.AddDevice(rxring.DeviceConfig{Name: d.Name()}); err != nil {
				return err
			}
		}
	}
	for _, w := range specs {
		f, err := w.Open(feed.Config{Namespace: ns})
		if err != nil {
			return fmt.Errorf("source %w", err)
		}
		defer f.Close()
	}
	return nil
}

// commit removes and starts the sources of a change. It starts all that can run; its error
// is of those that cannot. announce must follow.
func (s *sources) commit(c *change) error {
	var errs []error
	for _, f := range c.gone {
		if s.take(f) {
			s.log.Info("source removed", "source", f.Spec.String(), "devices", f.Names())
			errs = append(errs, f.Close())
		}
	}
	for _, w := range c.later {
		f, err := w.Open(feed.Config{Namespace: s.ns, Failed: s.failing(w)})
		if err != nil {
			errs = append(errs, fmt.Errorf("source %w", err))
			continue
		}
		c.fresh = append(c.fresh, f)
	}
	for _, f := range c.fresh {
		if err := f.Start(); err != nil {
			errs = append(errs, fmt.Errorf("source %w", err), f.Close())
			continue
		}
		s.mu.Lock()
		s.feeds = append(slices.Clone(s.feeds), f)
		s.mu.Unlock()
		c.started = append(c.started, f)
	}
	return errors.Join(errs...)
}

// announce logs the sources that commit has started, and from then on removes the devices
// of those that end.
func (s *sources) announce(c *change) {
	for _, f := range c.started {
		for _, err := range f.LeftOut {
			s.log.Warn("source is shown in part", "source", f.Spec.String(), "err", err)
		}
		s.log.Info("source started", "source", f.Spec.String(), "devices", f.Names())
		s.await(f)
	}
}

// failing logs why nothing comes of a source though somebody reads it.
func (s *sources) failing(w feed.Spec) func(error) {
	return func(err error) { s.log.Error("source fails, and is tried again", "source", w.String(), "err", err) }
}

// await takes the device away when its source has come to an end.
func (s *sources) await(f *feed.Feed) {
	done := f.Done()
	if done == nil {
		return
	}
	s.waiting.Go(func() {
		select {
		case <-s.ctx.Done():
			return
		case <-done:
		}
		if !s.take(f) { // a reload was faster
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, drainTime)
		defer cancel()
		if err := f.Finish(ctx); err != nil {
			s.log.Error("source failed", "source", f.Spec.String(), "devices", f.Names(), "err", err)
			return
		}
		s.log.Info("source ended", "source", f.Spec.String(), "devices", f.Names())
	})
}

// drainTime is how long readers have to read the end of a file: whoever never reads
// holds up nobody for longer.
const drainTime = 5 * time.Second

// close ends all of them, and returns when no goroutine is left.
func (s *sources) close() error {
	s.stop()
	s.waiting.Wait()
	var errs []error
	for _, f := range s.list() {
		if s.take(f) {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

func (s *sources) list() []*feed.Feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.feeds)
}

// take takes f out, and says whether it was still there: whoever takes it closes it.
func (s *sources) take(f *feed.Feed) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.feeds, f)
	if i >= 0 {
		s.feeds = slices.Delete(slices.Clone(s.feeds), i, i+1)
	}
	return i >= 0
}

func closeAll(feeds []*feed.Feed) error {
	var errs []error
	for _, f := range feeds {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// describe is for [attach.Config].
func (s *sources) describe(d *rxring.Device) attach.Description {
	for _, f := range s.list() {
		if slices.Contains(f.Devices, d) {
			return attach.Description{Source: f.Spec.WithoutName(), Counters: f.Counters()}
		}
	}
	return attach.Description{}
}

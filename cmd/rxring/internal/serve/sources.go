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
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
)

// sources are the daemon's feeds. describe may be called by any goroutine, the other methods
// by one.
type sources struct {
	*feed.Set
	ns  *rxring.Namespace
	log *slog.Logger

	changeMu sync.Mutex // held while sources are opened or removed
	absent   []*absent  // guarded by changeMu
}

func newSources(ns *rxring.Namespace, log *slog.Logger) *sources {
	return &sources{Set: feed.NewSet("source"), ns: ns, log: log}
}

// difference is how the sources of a file differ from those that run.
type difference struct {
	want    []feed.Spec
	stay    []*feed.Feed
	missing []feed.Spec
}

// compare compares the sources of a file with those that run. An absent interface counts as
// running.
func (s *sources) compare(want []feed.Spec) difference {
	s.changeMu.Lock()
	defer s.changeMu.Unlock()
	d := difference{want: want, missing: slices.Clone(want)}
	found := func(have feed.Spec) bool {
		i := slices.IndexFunc(d.missing, func(w feed.Spec) bool { return w.String() == have.String() })
		if i >= 0 {
			d.missing = slices.Delete(d.missing, i, i+1)
		}
		return i >= 0
	}
	for _, f := range s.List() {
		if found(f.Spec) {
			d.stay = append(d.stay, f)
		}
	}
	for _, a := range s.absent {
		found(a.spec)
	}
	return d
}

// change is a difference whose new devices exist, as far as possible.
type change struct {
	want  []feed.Spec
	stay  []*feed.Feed
	fresh []*feed.Feed     // nothing is delivered yet
	later []feed.Inspected // whose names are in use until others are removed

	started []*feed.Feed // by commit
}

// prepare opens the missing sources, which have been inspected. On an error it undoes what
// it did.
func (s *sources) prepare(d difference, missing []feed.Inspected) (*change, error) {
	s.changeMu.Lock()
	defer s.changeMu.Unlock()
	c := &change{want: d.want, stay: d.stay}
	for _, i := range missing {
		f, err := s.open(i)
		switch {
		case err == nil:
			c.fresh = append(c.fresh, f)
		case errors.Is(err, syscall.EEXIST) && len(s.List()) > len(c.stay):
			c.later = append(c.later, i)
		default:
			return nil, errors.Join(fmt.Errorf("source %w", err), closeAll(c.fresh))
		}
	}
	if c.later != nil {
		if err := rehearse(c.stay, missing); err != nil {
			return nil, errors.Join(err, closeAll(c.fresh))
		}
	}
	return c, nil
}

func (s *sources) open(i feed.Inspected) (*feed.Feed, error) {
	return i.Open(feed.Config{Namespace: s.ns, Failed: s.failing(i.Spec)})
}

// rehearse returns an error if the sources cannot be opened beside those that stay after all
// others are removed.
func rehearse(stay []*feed.Feed, sources []feed.Inspected) error {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	for _, f := range stay {
		for _, d := range f.Devices() {
			if _, err := ns.AddDevice(rxring.DeviceConfig{Name: d.Name()}); err != nil {
				return err
			}
		}
	}
	for _, i := range sources {
		if _, err := i.Open(feed.Config{Namespace: ns}); err != nil { // not closed: i has its stream
			return fmt.Errorf("source %w", err)
		}
	}
	return nil
}

// commit removes and starts the sources of a change. It starts those that it can, and returns
// the errors of the others. announce must follow.
func (s *sources) commit(c *change) error {
	s.changeMu.Lock()
	defer s.changeMu.Unlock()
	s.absent = slices.DeleteFunc(s.absent, func(a *absent) bool {
		wanted := slices.ContainsFunc(c.want, func(w feed.Spec) bool { return w.String() == a.spec.String() })
		if !wanted {
			a.forget()
		}
		return !wanted
	})
	var errs []error
	for _, f := range s.List() {
		if !slices.Contains(c.stay, f) && s.Remove(f) {
			s.log.Info("source removed", "source", f.Spec.String(), "devices", f.Names())
			errs = append(errs, f.Close())
		}
	}
	for _, i := range c.later {
		f, err := s.open(i)
		if err != nil {
			errs = append(errs, fmt.Errorf("source %w", err))
			continue
		}
		c.fresh = append(c.fresh, f)
	}
	for _, f := range c.fresh {
		if err := s.Start(f); err != nil {
			errs = append(errs, err)
			continue
		}
		c.started = append(c.started, f)
	}
	return errors.Join(errs...)
}

// announce logs the sources that commit has started, and starts to wait for their ends.
func (s *sources) announce(c *change) {
	for _, f := range c.started {
		s.announceOne(f)
	}
}

func (s *sources) announceOne(f *feed.Feed) {
	for _, err := range f.LeftOut {
		s.log.Warn("part of the source is left out", "source", f.Spec.String(), "err", err)
	}
	s.log.Info("source started", "source", f.Spec.String(), "devices", f.Names())
	s.await(f)
}

// failing returns the feed.Config.Failed of a source.
func (s *sources) failing(w feed.Spec) func(error) {
	return func(err error) { s.log.Error("source fails and is retried", "source", w.String(), "err", err) }
}

// await removes the devices of a source when it has ended.
func (s *sources) await(f *feed.Feed) {
	s.OnEnd(f, func() {
		gone, ok := s.ended(f)
		if !ok {
			return
		}
		ctx, cancel := context.WithTimeout(s.Context(), drainTime)
		defer cancel()
		err := f.Finish(ctx)
		switch {
		case gone != nil:
			s.log.Warn("source has ended: it restarts when its interface is back", "source", f.Spec.String(), "devices", f.Names(), "err", err)
			s.awaitInterface(gone)
		case err != nil:
			s.log.Error("source failed", "source", f.Spec.String(), "devices", f.Names(), "err", err)
		default:
			s.log.Info("source ended", "source", f.Spec.String(), "devices", f.Names())
		}
	})
}

// ended removes a source that has ended, unless a reload has. If its interface may return,
// it is absent from then on.
func (s *sources) ended(f *feed.Feed) (gone *absent, ok bool) {
	s.changeMu.Lock()
	defer s.changeMu.Unlock()
	if !s.Remove(f) {
		return nil, false
	}
	if f.Returns {
		gone = newAbsent(s.Context(), f.Spec)
		s.absent = append(s.absent, gone)
	}
	return gone, true
}

// drainTime limits how long a source that has ended waits for its readers.
const drainTime = 5 * time.Second

func closeAll(feeds []*feed.Feed) error {
	var errs []error
	for _, f := range feeds {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// describe is an attach.Config.Describe.
func (s *sources) describe(d *rxring.Device) attach.Description {
	for _, f := range s.List() {
		if slices.Contains(f.Devices(), d) {
			return attach.Description{Source: f.Origin(d), Counters: f.DeviceCounters(d)}
		}
	}
	return attach.Description{}
}

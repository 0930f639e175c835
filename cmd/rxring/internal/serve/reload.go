package serve

import (
	"context"
	"fmt"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/rxring/rxring/cmd/rxring/internal/feed"
)

// reload is a reload in progress. Reading the file and inspecting sources may take long: a
// capture file is read to its end, a name in a filter is looked up. Goroutines do that; the
// steps in between run in the daemon's goroutine.
type reload struct {
	ctx    context.Context // until the reload has ended
	cancel context.CancelFunc
	steps  chan func()
}

// background returns what f returns, or ctx's error if ctx ends first.
func background[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	case r := <-done:
		return r.v, r.err
	}
}

// beginReload reads the file again. It does not affect readers whose grant does not change,
// and a file with a mistake changes nothing.
func (s *server) beginReload(ctx context.Context) *reload {
	r := &reload{steps: make(chan func())}
	if s.opts.Config == nil {
		s.log.Warn("nothing to reload: rxring was started without --config")
		return r
	}
	notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	r.ctx, r.cancel = context.WithCancel(ctx)
	go func() {
		next, err := background(r.ctx, s.load)
		r.step(func() { s.loaded(r, next, err) })
	}()
	return r
}

// step makes the daemon's goroutine call f, unless the reload has ended.
func (r *reload) step(f func()) {
	select {
	case <-r.ctx.Done():
	case r.steps <- f:
	}
}

// end ends the reload, if any.
func (r *reload) end() {
	if r.cancel != nil {
		r.cancel()
	}
}

// loaded is the step after the file was read. Until its sources are inspected, peers have
// what the old and the new rules both grant: a revocation has effect at once.
func (s *server) loaded(r *reload, next *Config, err error) {
	if err != nil {
		s.notReloaded(r, err)
		return
	}
	d := s.sources.compare(next.Sources)
	if len(d.missing) == 0 {
		s.inspected(r, next, d, nil, nil)
		return
	}
	s.next.Store(next)
	s.attach.Regrant()
	go func() {
		inspected, err := feed.Inspect(r.ctx, d.missing)
		r.step(func() { s.inspected(r, next, d, inspected, err) })
	}()
}

// inspected is the last step.
func (s *server) inspected(r *reload, next *Config, d difference, inspected []feed.Inspected, err error) {
	if err != nil {
		s.notReloaded(r, fmt.Errorf("source %w", err))
		return
	}
	change, err := s.sources.prepare(d, inspected)
	if err != nil {
		for _, i := range inspected {
			i.Close()
		}
		s.notReloaded(r, err)
		return
	}
	// The rules change before the devices: the old rules never apply to a new device.
	old := s.config.Swap(next)
	s.next.Store(nil)
	s.level.Set(next.Log.Level)
	s.attach.Regrant()
	if err := s.sources.commit(change); err != nil {
		s.failed("reloaded, but a source failed", err)
	}
	s.sources.announce(change)
	s.changed(old, next)
	r.end()
	notify(daemon.SdNotifyReady)
}

// notReloaded ends a reload that has failed.
func (s *server) notReloaded(r *reload, err error) {
	r.end()
	if s.next.Swap(nil) != nil {
		s.attach.Regrant()
	}
	s.failed("not reloaded: the old configuration stays in force", s.explainSandbox(err))
	notify(daemon.SdNotifyReady)
}

package serve

import (
	"context"
	"fmt"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/rxring/rxring/cmd/rxring/internal/feed"
)

// reload is a SIGHUP that is being obeyed. To read the file and to inspect sources may take
// long: a file is read through, a name in a filter is looked up. A goroutine does that, and
// the daemon takes the steps in between.
type reload struct {
	ctx    context.Context // until it has ended
	cancel context.CancelFunc
	steps  chan func()
}

// background returns what f returns, or ctx's error when that ends before.
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

// beginReload reads the file again. Readers are not disturbed, unless the rules grant less
// now; a file with a mistake changes nothing.
func (s *server) beginReload(ctx context.Context) *reload {
	r := &reload{steps: make(chan func())}
	if s.opts.Config == nil {
		s.log.Warn("nothing to reload: there is no --config")
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

// step has the daemon call f, unless the reload has ended.
func (r *reload) step(f func()) {
	select {
	case <-r.ctx.Done():
	case r.steps <- f:
	}
}

// end ends the reload, if there is one.
func (r *reload) end() {
	if r.cancel != nil {
		r.cancel()
	}
}

// loaded goes on with what the file says. Until its sources are inspected, peers get what
// both the old and the new rules grant: what is revoked is revoked at once.
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
		s.notReloaded(r, err)
		return
	}
	// The rules before the packets: no new device is seen by what the old ones grant.
	old := s.config.Swap(next)
	s.next.Store(nil)
	s.level.Set(next.Log.Level)
	s.attach.Regrant()
	if err := s.sources.commit(change); err != nil {
		s.failed("reloaded, without a source", err)
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
	s.failed("not reloaded: what was before goes on", s.hidden(err))
	notify(daemon.SdNotifyReady)
}

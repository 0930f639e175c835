package serve

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/rxring/rxring/cmd/rxring/internal/feed"
)

// absent is a source whose interface was deleted and may return.
type absent struct {
	spec   feed.Spec
	ctx    context.Context // until the source is removed from the file
	forget context.CancelFunc
}

func newAbsent(ctx context.Context, spec feed.Spec) *absent {
	a := &absent{spec: spec}
	a.ctx, a.forget = context.WithCancel(ctx)
	return a
}

// returnPoll is how often awaitInterface checks for the interface.
const returnPoll = 250 * time.Millisecond

// awaitInterface restarts the source when its interface is back, unless the source is removed
// from the file first.
func (s *sources) awaitInterface(a *absent) {
	defer a.forget()
	tick := time.NewTicker(returnPoll)
	defer tick.Stop()
	logged := ""
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-tick.C:
		}
		f, err := s.reopen(a)
		switch {
		case f != nil:
			s.announceOne(f)
			return
		case err != nil && !errors.Is(err, syscall.ENODEV) && err.Error() != logged:
			logged = err.Error()
			s.log.Warn("source cannot be restarted yet", "source", a.spec.String(), "err", err)
		}
	}
}

// reopen opens and starts the source, unless it was removed from the file.
func (s *sources) reopen(a *absent) (*feed.Feed, error) {
	s.changeMu.Lock()
	defer s.changeMu.Unlock()
	if err := a.ctx.Err(); err != nil {
		return nil, nil
	}
	found, err := feed.Inspect(a.ctx, []feed.Spec{a.spec})
	if err != nil {
		return nil, err
	}
	f, err := s.open(found[0])
	if err != nil {
		return nil, err
	}
	if err := s.Start(f); err != nil {
		return nil, err
	}
	s.absent = slices.DeleteFunc(s.absent, func(b *absent) bool { return b == a })
	return f, nil
}

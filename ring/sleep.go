package ring

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// notified sleeps until a Notify wakes it.
type notified struct {
	notify   *Notify
	closed   *atomic.Bool // the ring's
	wake     chan struct{}
	deadline deadline
}

func newNotified(n *Notify, closed *atomic.Bool) *notified {
	return &notified{notify: n, closed: closed, wake: make(chan struct{}, 1)}
}

// Wake implements [Waker].
func (s *notified) Wake() {
	select {
	case s.wake <- struct{}{}:
	default: // already awake
	}
}

// Sleep implements [Sleeper].
func (s *notified) Sleep(ctx context.Context, ready func() bool) error {
	for !ready() {
		s.notify.Arm(s)
		if ready() || s.closed.Load() { // look again: see Notify
			s.notify.Disarm(s)
			if ready() {
				return nil
			}
			return ErrClosed
		}
		passed, changed := s.deadline.get()
		select {
		case <-s.wake:
		case <-changed:
			s.notify.Disarm(s)
		case <-passed:
			s.notify.Disarm(s)
			return os.ErrDeadlineExceeded
		case <-ctx.Done():
			s.notify.Disarm(s)
			return ctx.Err()
		}
	}
	return nil
}

// SetDeadline implements [Sleeper].
func (s *notified) SetDeadline(t time.Time) error {
	s.deadline.set(t)
	return nil
}

// deadline is a moment that may be moved while somebody waits for it.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	passed  chan struct{} // closed when it is past; nil: there is none
	changed chan struct{} // closed when it is moved; nil: nobody waited since
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer, d.passed = nil, nil
	if !t.IsZero() {
		passed := make(chan struct{})
		d.timer, d.passed = time.AfterFunc(time.Until(t), func() { close(passed) }), passed
	}
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

func (d *deadline) get() (passed, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changed == nil {
		d.changed = make(chan struct{})
	}
	return d.passed, d.changed
}

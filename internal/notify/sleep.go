package notify

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/rxring/rxring/ring"
)

// Armer wakes the sleepers that are armed, as [Notify] does.
type Armer interface {
	Arm(w ring.Waker)
	Disarm(w ring.Waker)
}

// notified sleeps until an Armer wakes it.
type notified struct {
	armer       Armer
	interrupted func() error
	wake        chan struct{}
	deadline    deadline
}

// NewSleeper returns the Sleeper of a ring whose writers wake the sleepers of a.
// interrupted returns why Sleep is to end without a packet, nil if it is to wait. Sleep
// calls it after Arm.
func NewSleeper(a Armer, interrupted func() error) ring.Sleeper {
	return &notified{armer: a, interrupted: interrupted, wake: make(chan struct{}, 1)}
}

// Wake implements [ring.Waker].
func (s *notified) Wake() {
	select {
	case s.wake <- struct{}{}:
	default: // already awake
	}
}

// Sleep implements [ring.Sleeper].
func (s *notified) Sleep(ctx context.Context, ready func() bool) error {
	for !ready() {
		s.armer.Arm(s)
		err := s.interrupted()
		if ready() || err != nil { // check again: see the package's comment
			s.armer.Disarm(s)
			if ready() {
				return nil
			}
			return err
		}
		passed, changed := s.deadline.get()
		select {
		case <-s.wake:
		case <-changed:
			s.armer.Disarm(s)
		case <-passed:
			s.armer.Disarm(s)
			return os.ErrDeadlineExceeded
		case <-ctx.Done():
			s.armer.Disarm(s)
			return ctx.Err()
		}
	}
	return nil
}

// SetDeadline implements [ring.Sleeper].
func (s *notified) SetDeadline(t time.Time) error {
	s.deadline.set(t)
	return nil
}

// deadline is a moment that may be moved while Sleep waits for it.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	passed  chan struct{} // closed when it is past; nil: there is none
	changed chan struct{} // closed when it is moved; nil: no Sleep waits for that
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

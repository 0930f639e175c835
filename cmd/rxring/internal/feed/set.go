package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
)

// Set has the feeds of one namespace, and the goroutines that wait for their ends. Its
// methods may be called concurrently.
type Set struct {
	label  string
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // goroutines of Go

	mu    sync.Mutex
	feeds []*Feed // a new slice after each change
}

// NewSet returns an empty set. label starts its errors: what names the feeds.
func NewSet(label string) *Set {
	s := &Set{label: label}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *Set) errorf(err error) error { return fmt.Errorf("%s %w", s.label, err) }

// Open inspects specs and opens them, all or none. Nothing is delivered yet.
func (s *Set) Open(ctx context.Context, specs []Spec, c Config) error {
	inspected, err := Inspect(ctx, specs)
	if err != nil {
		return s.errorf(err)
	}
	var opened []*Feed
	for _, i := range inspected {
		f, err := i.Open(c)
		if err != nil {
			if errors.Is(err, syscall.EEXIST) {
				err = fmt.Errorf("%w: NAME=%s gives it another one", err, i.Spec.WithoutName())
			}
			errs := []error{s.errorf(err)}
			for _, f := range opened {
				errs = append(errs, f.Close())
			}
			for _, i := range inspected[len(opened):] {
				i.Close()
			}
			return errors.Join(errs...)
		}
		opened = append(opened, f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feeds = slices.Concat(s.feeds, opened)
	return nil
}

// Start starts a feed and adds it, or closes it and returns an error.
func (s *Set) Start(f *Feed) error {
	if err := f.Start(); err != nil {
		return errors.Join(s.errorf(err), f.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feeds = append(slices.Clone(s.feeds), f)
	return nil
}

// StartAll starts the feeds of Open. When one fails, it stops them all.
func (s *Set) StartAll() error {
	for _, f := range s.List() {
		if err := f.Start(); err != nil {
			return errors.Join(s.errorf(err), s.Stop())
		}
	}
	return nil
}

// List returns the feeds in the order in which they were added.
func (s *Set) List() []*Feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.feeds
}

// Remove removes a feed, which the caller must close, or returns false if it was removed
// before.
func (s *Set) Remove(f *Feed) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.feeds, f)
	if i >= 0 {
		s.feeds = slices.Delete(slices.Clone(s.feeds), i, i+1)
	}
	return i >= 0
}

// Context ends when Stop or Close is called.
func (s *Set) Context() context.Context { return s.ctx }

// Go calls f in a goroutine that Stop and Close wait for.
func (s *Set) Go(f func()) { s.wg.Go(f) }

// OnEnd calls ended, in a goroutine of Go, when f has ended by itself.
func (s *Set) OnEnd(f *Feed, ended func()) {
	done := f.Done()
	if done == nil {
		return
	}
	s.Go(func() {
		select {
		case <-done:
			ended()
		case <-s.ctx.Done():
		}
	})
}

// Stop stops the feeds and waits for the goroutines. The devices stay. Its error is why
// feeds had ended before; it may be called again.
func (s *Set) Stop() error {
	s.cancel()
	s.wg.Wait()
	var errs []error
	for _, f := range s.List() {
		if err := f.Stop(); err != nil {
			errs = append(errs, s.errorf(err))
		}
	}
	return errors.Join(errs...)
}

// Close is Stop, and removes the feeds with their devices.
func (s *Set) Close() error {
	s.cancel()
	s.wg.Wait()
	var errs []error
	for _, f := range s.List() {
		if s.Remove(f) {
			if err := f.Close(); err != nil {
				errs = append(errs, s.errorf(err))
			}
		}
	}
	return errors.Join(errs...)
}

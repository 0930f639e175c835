package main

import (
	"slices"
	"sync"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
)

const (
	// endPoll is the time between checks whether files have ended.
	endPoll = 10 * time.Millisecond

	// lastPacketTime is the time that a program has to process its last packet before it is
	// interrupted.
	lastPacketTime = 250 * time.Millisecond

	// endGrace is the time that interrupted programs have to close their sockets before the
	// devices are removed, and reads fail with ENETDOWN.
	endGrace = 5 * time.Second
)

// sources are the feeds of a run. Files end together; another source that ends, such as a
// live interface that is deleted, takes its devices with it.
type sources struct {
	*feed.Set

	// interrupt receives a value when all files have been played and read, and no other
	// source is left.
	interrupt chan struct{}

	mu   sync.Mutex
	gone map[string]bool // names of files' devices that were removed
}

func newSources() *sources {
	return &sources{Set: feed.NewSet("--from"), interrupt: make(chan struct{}, 1), gone: make(map[string]bool)}
}

// start starts the feeds. When one fails, it stops them all.
func (s *sources) start() error {
	if err := s.StartAll(); err != nil {
		return err
	}
	var files []*feed.Feed
	for _, f := range s.List() {
		if f.Finite {
			files = append(files, f)
		} else {
			s.OnEnd(f, func() { f.Finish(s.Context()) }) // Close returns the error
		}
	}
	if files != nil {
		s.Go(func() { s.endFiles(files) })
	}
	return nil
}

// allDone returns a channel that is closed when those feeds have ended of which a device is
// wanted; nil if one of them does not end by itself.
func (s *sources) allDone(wanted func(device string) bool) <-chan struct{} {
	var ends []<-chan struct{}
	for _, f := range s.List() {
		if !slices.ContainsFunc(f.Devices(), func(d *rxring.Device) bool { return wanted(d.Name()) }) {
			continue
		}
		if f.Done() == nil {
			return nil
		}
		ends = append(ends, f.Done())
	}
	done := make(chan struct{})
	s.Go(func() {
		for _, end := range ends {
			select {
			case <-end:
			case <-s.Context().Done():
				return
			}
		}
		close(done)
	})
	return done
}

// sleep returns after d, or false when s is closed before.
func (s *sources) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.Context().Done():
		return false
	}
}

// endFiles closes the files that have ended, once no file is playing. Files that have had no
// reader yet stay open.
func (s *sources) endFiles(files []*feed.Feed) {
	endless := len(files) < len(s.List())
	playing := func(f *feed.Feed) bool { return !f.Ended() && (!f.Waiting() || f.Watched()) } // or about to
	for len(files) > 0 && s.sleep(endPoll) {
		var ended, left []*feed.Feed
		for _, f := range files {
			if f.Ended() {
				ended = append(ended, f)
			} else {
				left = append(left, f)
			}
		}
		if ended == nil || slices.ContainsFunc(left, playing) {
			continue
		}
		for _, f := range ended {
			f.Drain(s.Context())
		}
		if slices.ContainsFunc(left, playing) {
			continue // one has begun meanwhile
		}
		if !endless && !s.interruptReaders(ended) {
			return
		}
		s.remove(ended)
		files = left
	}
}

// interruptReaders interrupts the programs, and waits up to endGrace until they no longer
// read the files. It returns false if s is closed before.
func (s *sources) interruptReaders(files []*feed.Feed) bool {
	if !s.sleep(lastPacketTime) {
		return false
	}
	select {
	case s.interrupt <- struct{}{}:
	case <-s.Context().Done():
		return false
	}
	for start := time.Now(); time.Since(start) < endGrace && slices.ContainsFunc(files, (*feed.Feed).Watched); {
		if !s.sleep(endPoll) {
			return false
		}
	}
	return true
}

// remove removes the files' devices.
func (s *sources) remove(files []*feed.Feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range files {
		for _, d := range f.Devices() {
			s.gone[d.Name()] = true
		}
		f.Close() // s.Close returns the error
	}
}

// usesStdin reports whether standard input is a source.
func (s *sources) usesStdin() bool {
	return slices.ContainsFunc(s.List(), func(f *feed.Feed) bool { return f.Spec.Stdin() })
}

// hasEnded reports whether the device of this name was removed at the end of its file.
func (s *sources) hasEnded(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone[name]
}

// Close stops the feeds. The devices stay until the run ends.
func (s *sources) Close() error { return s.Stop() }

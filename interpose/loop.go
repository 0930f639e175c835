//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Three goroutines serve a session, and all wait in Go's scheduler. A goroutine that waits in a
// system call keeps one of Go's processors for up to 10 ms, and Go's monitor thread then wakes
// up every 20 microseconds, which costs more than what a program's calls do.
//
// serveCalls serves trapped calls. A signal ends a call that has not been received (after that,
// WAIT_KILLABLE_RECV prevents it), so this goroutine does nothing else. watchPairs serves what the
// program does with stand-ins without a trapped call. serveWaiting does the rest: when packets
// arrive it retries calls that wait and stages packets, and it does what is due by the clock.

// loop is what the three have between them.
type loop struct {
	stop chan struct{} // closed to end serveWaiting
	// wakeup wakes serveWaiting: a packet arrived for a call that waits, or for a socket
	// without a ring, or something is due sooner than it sleeps (wakeIfDueLocked).
	wakeup     wakeup
	interrupts wakeup // a value of Config.Interrupt arrived

	sleep   int // serveWaiting sleeps for so many milliseconds; below 0: until something happens
	waiters int // calls that waited when serveWaiting began to sleep
}

func newLoop() loop {
	return loop{stop: make(chan struct{}), wakeup: make(wakeup, 1), interrupts: make(wakeup, 1)}
}

// wakeup wakes the goroutine that receives from it. It is a ring.Waker: any goroutine may call
// Wake at any time.
type wakeup chan struct{}

// Wake implements ring.Waker.
func (w wakeup) Wake() {
	select {
	case w <- struct{}{}:
	default: // it is awake
	}
}

// serveCalls serves trapped calls until the last process under the filter has ended.
func (s *session) serveCalls() {
	for {
		n, err := s.l.Receive()
		switch {
		case err == nil:
			s.mu.Lock()
			s.handle(n)
			s.wakeIfDueLocked()
			s.mu.Unlock()
		case errors.Is(err, io.EOF):
			return
		case !errors.Is(err, unix.ENOENT):
			s.warnf("seccomp listener: %v", err)
			return
		}
	}
}

// watchPairs serves what the program does with stand-ins without a trapped call, until pairs is
// closed.
func (s *session) watchPairs() {
	for s.pairs.WaitReady() == nil {
		s.mu.Lock()
		s.pairs.handle(s)
		s.wakeIfDueLocked()
		s.mu.Unlock()
	}
}

// serveWaiting retries calls that wait, stages packets that arrive, interrupts the program when
// Config.Interrupt asks for it, and does what is due by the clock, until stop. It returns once all
// goroutines have.
func (s *session) serveWaiting() {
	var others sync.WaitGroup
	defer func() {
		s.pairs.Close()
		others.Wait()
		s.sweeper.running.Wait() // serveCalls may have begun one
	}()
	others.Go(s.serveCalls)
	others.Go(s.watchPairs)
	timer := time.NewTimer(0)
	for {
		s.mu.Lock()
		s.sleep, s.waiters = s.tick(), s.waiting.count()
		if s.sleep < 0 {
			timer.Stop()
		} else {
			timer.Reset(time.Duration(s.sleep) * time.Millisecond)
		}
		s.mu.Unlock()
		select {
		case <-s.stop:
			return
		case <-timer.C:
		case <-s.wakeup:
			s.mu.Lock()
			s.retryReceives() // first: a packet is for the call that waits for it
			s.stageArrivals()
			s.mu.Unlock()
		case <-s.interrupts:
			s.mu.Lock()
			s.interrupt()
			s.mu.Unlock()
		}
	}
}

// wakeIfDueLocked wakes serveWaiting if something is due before it wakes up.
func (s *session) wakeIfDueLocked() {
	if s.sleepsTooLong() {
		s.wakeup.Wake()
	}
}

// sleepsTooLong reports whether something is due before serveWaiting wakes up.
func (s *session) sleepsTooLong() bool {
	if s.sleep < 0 {
		return !s.idle()
	}
	return s.waiting.count() > s.waiters || s.waiting.framesHeld || s.sleep > int(s.sweepEvery().Milliseconds())+1
}

// idle reports whether nothing is due by the clock.
func (s *session) idle() bool {
	return len(s.sockets.open) == 0 && s.waiting.count() == 0 && !s.rtnl.bus.HasMembers() && !(s.records.keepEnds && len(s.rtnl.open) > 0)
}

// tick does what is due by the clock, and returns how many milliseconds may pass until
// something is due again, -1 for any number.
func (s *session) tick() int {
	if s.idle() {
		return -1
	}
	now, every := time.Now(), s.sweepEvery()
	if now.Sub(s.sweeper.swept) >= every {
		s.sweeper.swept = now
		s.dropEndedReceives()
		s.searchApart(true)
		s.announceDevices()
	}
	s.glance(now)
	s.reportMapped(nil)
	s.interruptWaiting(now)
	next := s.waiting.untilDeadline(now)
	if next <= 0 {
		s.retryReceives()
		next = s.waiting.untilDeadline(now)
	}
	if s.l.Killable() && len(s.waiting.receives) > 0 {
		next = min(next, checkSignals)
	}
	s.retrySends(now)
	if len(s.waiting.sends) > 0 || s.waiting.framesHeld {
		next = min(next, trySends)
	}
	if len(s.swaps.unreported) > 0 {
		next = min(next, reportEvery)
	}
	if s.glances(now) {
		next = min(next, glanceInterval-now.Sub(s.sweeper.glanced))
	}
	return int(min(every-now.Sub(s.sweeper.swept), next).Milliseconds()) + 1
}

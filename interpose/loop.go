//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Two goroutines serve a session, each on a thread of its own. A signal ends a trapped
// call that has not been received, and WAIT_KILLABLE_RECV keeps it from doing so
// afterwards, so the time from the trap until the call is received should be short:
// receive waits for calls in the ioctl that receives them, and does nothing else. serve
// does the rest: it wakes up when packets arrive, when the program uses a stand-in, and
// by the clock. Before Linux 6.11, where the ioctl does not return when the program has
// ended, serve receives calls, too.

// loop is what the two have between them.
type loop struct {
	stop       *eventfd // ends serve
	wakeup     *eventfd // wakes serve: a packet arrived for a call that waits, or for a socket without a ring
	interrupts *eventfd // a value of Config.Interrupt arrived

	sleep   int // serve polls for so many milliseconds; below 0: until something happens
	waiters int // calls that waited when serve began to poll
}

func newLoop() (l loop, err error) {
	for _, e := range []**eventfd{&l.stop, &l.wakeup, &l.interrupts} {
		if *e, err = newEventfd(); err != nil {
			l.close()
			return loop{}, err
		}
	}
	return l, nil
}

func (l *loop) close() {
	for _, e := range []*eventfd{l.stop, l.wakeup, l.interrupts} {
		if e != nil {
			e.close()
		}
	}
}

// receive serves trapped calls until the last process under the filter has ended.
func (s *session) receive() {
	lockThread()
	for {
		n, err := s.l.Receive()
		switch {
		case err == nil:
			s.mu.Lock()
			s.handle(n)
			if s.sleepsTooLong() {
				s.wakeup.Wake()
			}
			s.mu.Unlock()
		case !errors.Is(err, unix.ENOENT) || s.l.HungUp():
			return
		}
	}
}

// serve does what there is to do besides, until stop.
func (s *session) serve() {
	var receiving sync.WaitGroup
	defer func() {
		receiving.Wait()
		s.sweeper.running.Wait() // receive may have begun one
	}()
	calls := s.l.FD()
	if s.l.EndsReceive() {
		receiving.Go(s.receive)
		calls = -1
	}
	lockThread()
	fds := []unix.PollFd{
		{Fd: int32(s.stop.fd), Events: unix.POLLIN},
		{Fd: int32(calls), Events: unix.POLLIN},
		{Fd: int32(s.wakeup.fd), Events: unix.POLLIN},
		{Fd: int32(s.pairs.fd), Events: unix.POLLIN},
		{Fd: int32(s.interrupts.fd), Events: unix.POLLIN},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		s.sleep, s.waiters = s.tick(), s.waiting.count()
		s.mu.Unlock()
		_, err := unix.Poll(fds, s.sleep)
		s.mu.Lock()
		if err != nil && err != unix.EINTR {
			s.warnf("seccomp listener: poll: %v", err)
			return
		}
		if fds[0].Revents != 0 {
			return
		}
		if fds[1].Revents&unix.POLLIN != 0 {
			if n, err := s.l.Receive(); err == nil {
				s.handle(n)
			}
		} else if fds[1].Revents != 0 {
			fds[1].Fd = -1 // POLLHUP: the last process under the filter has ended
		}
		if fds[2].Revents != 0 {
			s.wakeup.drain()
			s.retryReceives() // first: a packet is for the call that waits for it
			s.stageArrivals()
		}
		if fds[3].Revents != 0 {
			s.pairs.handle(s)
		}
		if fds[4].Revents != 0 {
			s.interrupts.drain()
			s.interrupt()
		}
	}
}

// sleepsTooLong reports whether something is due before serve's poll ends.
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

// lockThread locks the goroutine to its thread, which ends with it, and blocks on it every
// signal but those that its own faults raise. So no signal handler of this process
// interrupts an ioctl there.
func lockThread() {
	runtime.LockOSThread()
	set := unix.Sigset_t{}
	for i := range set.Val {
		set.Val[i] = ^set.Val[i]
	}
	for _, sig := range []unix.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP} {
		set.Val[0] &^= 1 << (sig - 1)
	}
	unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil)
}

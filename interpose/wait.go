//go:build linux && (amd64 || arm64)

package interpose

import (
	"math"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/procfs"
)

// Receive calls wait for a packet, send calls for room in a device. No thread of ours
// waits with them: they are kept in a list and tried again. They end when they succeed,
// when their time is up, or by a signal.
//
// Since Linux 5.19 only our answer or the thread's death ends a call that was received
// (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV), so we check for pending signals. Without that flag a
// signal ends the call in the kernel, and its notification is no longer valid. That is
// not always safe: the kernel accepts an answer that arrives just when a signal wakes the
// thread, and discards it.

// waiting is the calls that wait.
type waiting struct {
	receives []*receiving
	sends    []*sending

	framesHeld bool      // a socket holds a frame that was written
	sendsTried time.Time // when sends were last tried
	checked    time.Time // when signals were last checked for
}

const (
	// checkSignals is how often pending signals are checked for: a handler may run that
	// much later than under the kernel.
	checkSignals = 10 * time.Millisecond
	// trySends is how often sends that wait are tried again.
	trySends = time.Millisecond
)

// erestartsys has the kernel make a call again, or return EINTR, as the signal's handler
// was installed (linux/errno.h). It must go only to a thread that was woken for a signal
// or to be frozen: another one would see the number.
const erestartsys = unix.Errno(512)

// waiter is a call that waits.
type waiter interface {
	state() *waitState
	try() (answer reply, ok bool)
	// partial is what the call returns if it has to end now and has done something.
	partial() (answer reply, ok bool)
}

// waitState is what calls that wait have in common.
type waitState struct {
	*call
	deadline      time.Time // zero: none
	signalPending bool      // a signal was pending for the process at the last check
}

func (w *waitState) state() *waitState { return w }

// inTime reports whether the deadline has not passed.
func (w *waitState) inTime() bool {
	return w.deadline.IsZero() || time.Now().Before(w.deadline)
}

// settle answers the calls for which f has an answer, and returns the others.
func settle[W waiter](calls []W, f func(W) (reply, bool)) []W {
	return slices.DeleteFunc(calls, func(w W) bool {
		answer, ok := f(w)
		c := w.state().call
		c.release()
		if ok {
			c.after(answer)
		}
		return ok
	})
}

func (w *waiting) count() int { return len(w.receives) + len(w.sends) }

// retryReceives tries the receive calls that wait: a packet may have arrived, or their
// time may be up.
func (s *session) retryReceives() {
	for _, r := range s.waiting.receives {
		r.from.arm(s.wakeup) // first: what arrives from now on wakes us again
	}
	s.dropEndedReceives() // no packet is for them
	s.waiting.receives = settle(s.waiting.receives, func(r *receiving) (reply, bool) {
		answer, ok := r.try()
		if ok {
			defer r.from.refresh()
		}
		return answer, ok
	})
}

// dropEndedReceives drops the receive calls that signals have ended in the kernel.
func (s *session) dropEndedReceives() {
	s.waiting.receives = slices.DeleteFunc(s.waiting.receives, func(r *receiving) bool { return !r.valid() })
}

// retrySends tries the sends that wait for room, if it is time.
func (s *session) retrySends(now time.Time) {
	w := &s.waiting
	if len(w.sends) == 0 && !w.framesHeld || now.Sub(w.sendsTried) < trySends {
		return
	}
	w.sendsTried = now
	if w.framesHeld {
		s.sendHeld()
	}
	w.sends = slices.DeleteFunc(w.sends, func(w *sending) bool { return !w.valid() }) // a signal ended it
	w.sends = settle(w.sends, (*sending).try)
}

// untilDeadline is how long until the time of a receive call is up.
func (w *waiting) untilDeadline(now time.Time) time.Duration {
	next := time.Duration(math.MaxInt64)
	for _, r := range w.receives {
		if !r.deadline.IsZero() {
			next = min(next, max(r.deadline.Sub(now), 0))
		}
	}
	return next
}

// interruptWaiting ends the calls of threads for which a signal is pending, or that are
// to be frozen, if it is time to check.
func (s *session) interruptWaiting(now time.Time) {
	w := &s.waiting
	if !s.l.Killable() || w.count() == 0 || now.Sub(w.checked) < checkSignals {
		return
	}
	w.checked = now
	w.receives = settle(w.receives, interrupted)
	w.sends = settle(w.sends, interrupted)
}

// interrupted is the answer to a call that a signal interrupts, as sock_intr_errno
// (include/net/sock.h) has it. ok means that one does.
func interrupted[W waiter](w W) (answer reply, ok bool) {
	ws := w.state()
	mine, ok := ws.interruptedBySignal()
	if !ok {
		return reply{}, false
	}
	if answer, ok := w.partial(); ok {
		return answer, true
	}
	if mine && ws.deadline.IsZero() {
		return fail(erestartsys), true
	}
	return fail(unix.EINTR), true
}

// interruptedBySignal reports whether a signal is to end the call, and whether it is
// certainly for this thread. One that is pending for the process may be handled by
// another thread, so it counts only if it is still pending at the next check.
func (w *waitState) interruptedBySignal() (mine, ok bool) {
	mine, shared := signalPending(w.tid, w.wokenByUs)
	before := w.signalPending
	w.signalPending = shared
	return mine, mine || shared && before
}

// signalPending reports whether a thread that waits for our answer certainly has
// something else to do, and whether a signal is pending for its process that it might
// get.
//
// The thread sleeps interruptibly until something wakes it, and killably from then on
// (seccomp_do_user_notification, kernel/seccomp.c). So one that sleeps killably has been
// woken: for a signal, which another thread may have taken since, or to be frozen, as
// when its container is paused or the machine suspends; the freezer waits for it. A
// thread that we woke, by changing its descriptors, sleeps killably as well: for that
// one only pending signals count.
func signalPending(tid int, wokenByUs bool) (mine, shared bool) {
	s := procfs.Signals(tid)
	return s.Killable && !wokenByUs || s.Thread || s.Process && s.Threads == 1, s.Process
}

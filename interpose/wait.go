//go:build linux && (amd64 || arm64)

package interpose

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Since Linux 5.19 a call that was received here is ended by our answer or by the
// thread's death, and by no other signal (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV).
// Without it, an answer that comes in the moment in which a signal wakes the thread is
// taken and thrown away, and nobody tells. So signals for those who wait for a packet
// are looked for.

// lookForSignals is how often: how much later a handler may run, at most.
const lookForSignals = 10 * time.Millisecond

// erestartsys has the kernel make a call again, or return EINTR, as the signal's
// handler was installed (linux/errno.h). It must meet a thread that was woken for a
// signal, or to be frozen: another one would see the number.
const erestartsys = unix.Errno(512)

// interruptParked ends the receive and send calls of threads that signals or the freezer wait for.
func (s *session) interruptParked(now time.Time) {
	if !s.killable || len(s.parked)+len(s.sends) == 0 || now.Sub(s.looked) < lookForSignals {
		return
	}
	s.looked = now
	s.parked = slices.DeleteFunc(s.parked, func(r *receiving) bool {
		answer, ok := r.interrupted()
		r.release()
		if ok {
			s.answer(r.notification, answer)
		}
		return ok
	})
	s.sends = slices.DeleteFunc(s.sends, func(w *sending) bool {
		answer, ok := w.interrupted()
		w.release()
		if ok {
			s.answer(w.notification, answer)
		}
		return ok
	})
}

// signalWatch looks for signals for a thread that waits for our answer.
type signalWatch struct {
	before bool // one was on its way to the thread's process when it looked last
}

// look says whether the call is to end because of a signal, and whether that is the
// thread's own for sure.
func (s *signalWatch) look(c *call) (mine, ok bool) {
	mine, anybodys := wanted(c.tid, c.woken)
	before := s.before
	s.before = anybodys
	return mine, mine || anybodys && before // one that is anybody's may be another thread's, who has had time now
}

// interrupted is what a signal, if there is one, makes of the call, as
// sock_intr_errno (include/net/sock.h) has it.
func (r *receiving) interrupted() (answer reply, ok bool) {
	mine, ok := r.signals.look(r.call)
	switch {
	case !ok:
		return reply{}, false
	case r.got > 0:
		return r.messages(), true
	case mine && r.deadline.IsZero():
		return reply{kind: value, err: erestartsys}, true
	}
	return reply{kind: value, err: unix.EINTR}, true
}

// wanted says whether a thread that waits for our answer is wanted elsewhere for sure,
// and whether a signal is on its way to its process that it might get.
//
// It sleeps interruptibly until something wakes it, and killably from then on
// (seccomp_do_user_notification, kernel/seccomp.c). So one that sleeps killably has been
// woken: for a signal, which another thread may have taken since, or to be frozen, as
// when its container is paused or the machine goes to sleep. That waits for it. One that
// we woke, to put a descriptor into its table, sleeps killably as well: of that one only
// pending signals tell.
func wanted(tid int, woken bool) (mine, anybodys bool) {
	masks := make(map[string]uint64)
	threads, killably := "", false
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	for line := range strings.Lines(string(b)) {
		key, v, _ := strings.Cut(line, ":")
		switch v = strings.TrimSpace(v); key {
		case "State":
			killably = !woken && strings.HasPrefix(v, "D")
		case "SigPnd", "ShdPnd", "SigBlk":
			masks[key], _ = strconv.ParseUint(v, 16, 64)
		case "Threads":
			threads = v
		}
	}
	shared := masks["ShdPnd"]&^masks["SigBlk"] != 0
	return killably || masks["SigPnd"]&^masks["SigBlk"] != 0 || shared && threads == "1", shared
}

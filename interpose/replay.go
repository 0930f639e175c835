//go:build linux && (amd64 || arm64)

package interpose

import (
	"time"

	"golang.org/x/sys/unix"
)

// A signal may end a call before it gets its answer. If the signal's handler was
// installed with SA_RESTART, the kernel makes the same call again, and what it does
// must not be done twice: a second PACKET_RX_RING would be EBUSY, a second
// PACKET_STATISTICS zero, a received packet has left the queue, and a sent frame has
// left the device. So answers that were lost are kept, one for each thread.

// replayRule says which answers of a call are kept.
type replayRule uint8

const (
	replayNever   replayRule = iota
	replayAlways             // also errors
	replaySuccess            // after an error nothing was done
)

// lostReply is the answer to a call that a signal ended first.
type lostReply struct {
	nr        int32
	args      [6]uint64
	reply     reply
	unwritten []piece // results that the program's memory did not get either
}

// replayCache keeps lost answers.
type replayCache struct {
	lost       map[uint32]lostReply // by thread
	lastSignal map[uint32]time.Time // by thread: when a signal last ended a call of it
	unwritten  []piece              // results of the call that is being handled, if it has ended
}

func newReplayCache() replayCache {
	return replayCache{lost: make(map[uint32]lostReply), lastSignal: make(map[uint32]time.Time)}
}

// maxThreads bounds what is kept by thread.
const maxThreads = 1024

// signalPause is how long after one signal another may follow soon.
const signalPause = time.Second

// answered notes that c was answered with r; lost means that it had ended.
func (rc *replayCache) answered(c *call, r reply, lost bool) {
	if lost {
		if len(rc.lastSignal) >= maxThreads {
			clear(rc.lastSignal)
		}
		rc.lastSignal[c.TID] = time.Now()
	}
	if r.kind == returnValue && (lost || rc.answerMayBeLost(c)) {
		rc.keep(c, r)
	}
}

// answerMayBeLost reports whether an answer that the kernel accepted may be lost all
// the same. Between the moment when a signal wakes the thread and the moment when it
// runs, the kernel accepts the answer, discards it and makes the call again, without
// an error for us. So for a thread that was interrupted lately, the same setsockopt
// once more, with no other call in between, is taken for the same call; from any
// other thread it is a second one.
func (rc *replayCache) answerMayBeLost(c *call) bool {
	return c.NR == unix.SYS_SETSOCKOPT && time.Since(rc.lastSignal[c.TID]) < signalPause
}

func (rc *replayCache) keep(c *call, r reply) {
	unwritten := rc.unwritten
	rc.unwritten = nil
	if unwritten != nil {
		r = value(0) // what the call would have returned
	}
	if c.entry.replay == replayNever || c.entry.replay == replaySuccess && r.err != 0 {
		return
	}
	if len(rc.lost) >= maxThreads {
		clear(rc.lost) // nearly all are of threads that ended long ago
	}
	rc.lost[c.TID] = lostReply{c.NR, c.Args, r, unwritten}
}

// replay returns the answer that this call, made before, did not get.
func (c *call) replay() (r reply, ok bool) {
	rc := &c.s.replays
	rc.unwritten = nil
	l, ok := rc.lost[c.TID]
	if !ok {
		return reply{}, false
	}
	delete(rc.lost, c.TID)
	if l.nr != c.NR || l.args != c.Args {
		return reply{}, false
	}
	if l.unwritten != nil {
		return c.finish(l.unwritten...), true
	}
	return l.reply, true
}

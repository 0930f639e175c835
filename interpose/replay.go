//go:build linux && (amd64 || arm64)

package interpose

import (
	"time"

	"golang.org/x/sys/unix"
)

// A lostReply is the answer to a call that a signal ended before it got it. If
// the handler was installed with SA_RESTART the kernel makes the same call
// again, and what it does must not be done twice: a second PACKET_RX_RING would
// be EBUSY, a second PACKET_STATISTICS zero, a packet that was received is out of
// the queue, and a frame that was sent has left.
type lostReply struct {
	nr    int32
	args  [6]uint64
	reply reply
	fills []fill // which it has not got either
}

// fill is what a call leaves in the program's memory.
type fill struct {
	addr uint64
	b    []byte
}

// fill fills the program's memory, which ends the call.
func (c *call) fill(fills ...fill) reply {
	for _, f := range fills {
		if err := c.write(f.addr, f.b); err != nil {
			if errnoOf(err) == unix.EINTR {
				c.s.unfilled = fills
			}
			return result(err)
		}
	}
	return reply{kind: value}
}

func (s *session) remember(n *notification, r reply) {
	fills := s.unfilled
	s.unfilled = nil
	if fills != nil {
		r = reply{kind: value} // had there been somebody to get it
	}
	switch n.NR {
	case unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT:
	case unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_RECVMMSG,
		unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG:
		if r.err != 0 {
			return // nothing was done
		}
	default:
		return
	}
	if len(s.lost) >= maxThreads {
		clear(s.lost) // of threads long gone, nearly all
	}
	s.lost[n.TID] = lostReply{n.NR, n.Args, r, fills}
}

// maxThreads bounds what is remembered by thread.
const maxThreads = 1024

// hitLately is how long a thread that a signal has hit may be hit again soon.
const hitLately = time.Second

func (s *session) signalled(tid uint32) {
	if len(s.hit) >= maxThreads {
		clear(s.hit)
	}
	s.hit[tid] = time.Now()
}

// doubtful says whether an answer that the kernel took may be lost all the same. From
// the moment in which a signal wakes the thread to that in which it runs, the kernel
// takes the answer, throws it away, and makes the call again. Nobody tells. So to a
// thread that signals hit, the same setsockopt once more, with no other call in
// between, is the same call; from any other thread it is a second one.
func (s *session) doubtful(n *notification) bool {
	return n.NR == unix.SYS_SETSOCKOPT && time.Since(s.hit[n.TID]) < hitLately
}

func (c *call) recall() (reply, bool) {
	l, ok := c.s.lost[c.TID]
	if !ok {
		return reply{}, false
	}
	delete(c.s.lost, c.TID)
	if l.nr != c.NR || l.args != c.Args {
		return reply{}, false
	}
	if l.fills != nil {
		return c.fill(l.fills...), true
	}
	return l.reply, true
}

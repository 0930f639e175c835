//go:build linux && (amd64 || arm64)

package interpose

import "golang.org/x/sys/unix"

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
	if len(s.lost) >= 1024 {
		clear(s.lost) // of threads long gone, nearly all
	}
	s.lost[n.TID] = lostReply{n.NR, n.Args, r, fills}
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

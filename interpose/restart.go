//go:build linux && (amd64 || arm64)

package interpose

import "golang.org/x/sys/unix"

// A lostReply is the answer to a call that a signal ended before it got it. If
// the handler was installed with SA_RESTART the kernel makes the same call
// again, and what it does must not be done twice: a second PACKET_RX_RING would
// be EBUSY, a second PACKET_STATISTICS zero.
type lostReply struct {
	nr    int32
	args  [6]uint64
	reply reply
}

func (s *session) remember(n *notification, r reply) {
	if n.NR != unix.SYS_SETSOCKOPT && n.NR != unix.SYS_GETSOCKOPT {
		return
	}
	if len(s.lost) >= 1024 {
		clear(s.lost) // of threads long gone, nearly all
	}
	s.lost[n.TID] = lostReply{n.NR, n.Args, r}
}

func (s *session) recall(n *notification) (reply, bool) {
	l, ok := s.lost[n.TID]
	if ok {
		delete(s.lost, n.TID)
	}
	return l.reply, ok && l.nr == n.NR && l.args == n.Args
}

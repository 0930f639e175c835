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
}

func (s *session) remember(n *notification, r reply) {
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
	s.lost[n.TID] = lostReply{n.NR, n.Args, r}
}

func (s *session) recall(n *notification) (reply, bool) {
	l, ok := s.lost[n.TID]
	if ok {
		delete(s.lost, n.TID)
	}
	return l.reply, ok && l.nr == n.NR && l.args == n.Args
}

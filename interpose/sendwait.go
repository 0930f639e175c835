//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sending is a call of sendto, sendmsg or sendmmsg. Where a device has no room for a
// frame, as a live interface whose send buffer is full, a call on a blocking socket
// waits for room, as in sock_alloc_send_pskb (net/core/sock.c): it is kept here and
// tried again. A signal ends it: see interrupted.go.
type sending struct {
	*call
	socket   *socket
	flags    int32
	deadline time.Time // of SO_SNDTIMEO; zero: none
	signals  signalWatch

	bytes int    // sent so far from a transmit ring
	got   uint64 // messages sent so far, of sendmmsg
}

// trySendsEvery is how often sends that wait are tried again.
const trySendsEvery = time.Millisecond

// try sends what is left to send; not ok means that the call has to wait for room.
func (w *sending) try() (answer reply, ok bool) {
	for {
		n, err := w.one()
		w.bytes += n
		switch {
		case errors.Is(err, unix.EAGAIN) && w.mayWait():
			return reply{}, false
		case w.NR != unix.SYS_SENDMMSG && errors.Is(err, unix.EAGAIN) && w.bytes > 0:
			return sent(w.bytes, nil), true
		case w.NR != unix.SYS_SENDMMSG:
			return sent(w.bytes, err), true
		case err == nil:
			err = w.write(w.Args[1]+w.got*sizeofMmsghdr+mmsghdrLen, bytes32(uint32(w.bytes)))
		}
		switch {
		case err != nil && w.got == 0:
			return result(err), true
		case err != nil: // the next call meets the error
			return w.messages(), true
		}
		w.bytes = 0
		if w.got++; w.got >= uint64(min(uint32(w.Args[2]), maxMessages)) {
			return w.messages(), true
		}
	}
}

// one sends one message.
func (w *sending) one() (int, error) {
	switch {
	case w.socket.held != nil: // what was written before
		return 0, unix.EAGAIN
	case w.NR == unix.SYS_SENDTO:
		return w.sendto(w.socket)
	}
	return w.sendmsg(w.socket, w.Args[1]+w.got*sizeofMmsghdr)
}

// messages is sendmmsg's value.
func (w *sending) messages() reply { return reply{kind: value, val: int64(w.got)} }

// mayWait says whether the call waits for room.
func (w *sending) mayWait() bool {
	if w.flags&unix.MSG_DONTWAIT != 0 || w.socket.nonblocking(0, 0) {
		return false
	}
	if w.deadline.IsZero() {
		if d := w.socket.sendTimeout(); d != forever {
			w.deadline = time.Now().Add(d)
		}
	}
	return w.deadline.IsZero() || time.Now().Before(w.deadline)
}

// sendTimeout is SO_SNDTIMEO, which the stand-in keeps: see parseTimeval.
func (k *socket) sendTimeout() time.Duration {
	var tv [sizeofTimeval]byte
	n := uint32(len(tv))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(k.end), unix.SOL_SOCKET, unix.SO_SNDTIMEO,
		uintptr(unsafe.Pointer(&tv)), uintptr(unsafe.Pointer(&n)), 0)
	if d, ok := parseTimeval(tv[:]); ok && errno == 0 {
		return d
	}
	return forever
}

// interrupted is what a signal, if there is one, makes of the call.
func (w *sending) interrupted() (answer reply, ok bool) {
	mine, ok := w.signals.look(w.call)
	switch {
	case !ok:
		return reply{}, false
	case w.got > 0:
		return w.messages(), true
	case w.bytes > 0:
		return sent(w.bytes, nil), true
	case mine && w.deadline.IsZero():
		return reply{kind: value, err: erestartsys}, true
	}
	return reply{kind: value, err: unix.EINTR}, true
}

// resumeSends tries the sends that wait for room.
func (s *session) resumeSends(now time.Time) {
	if len(s.sends) == 0 && !s.holding || now.Sub(s.triedSends) < trySendsEvery {
		return
	}
	s.triedSends = now
	if s.holding {
		s.holding = false
		for _, k := range s.sockets {
			if k.held != nil {
				k.sendWritten()
			}
		}
	}
	s.sends = slices.DeleteFunc(s.sends, func(w *sending) bool {
		if !w.valid() {
			return true // a signal ended it: it has sent what it has sent
		}
		answer, ok := w.try()
		w.release()
		if ok {
			s.answer(w.notification, answer)
		}
		return ok
	})
}

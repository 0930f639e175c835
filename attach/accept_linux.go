package attach

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// acceptBatch limits the connections that are accepted in a row.
	acceptBatch = 256

	// floodPause is the time between two batches while connections are turned away. It
	// saves waking the accept loop for each, and is much shorter than a flood needs to
	// fill the backlog (net.core.somaxconn).
	floodPause = 2 * time.Millisecond

	// errorPause is how long accept waits after an error, such as EMFILE.
	errorPause = 100 * time.Millisecond
)

// accept accepts connections until the listener is closed. Those that are turned away are
// never registered with the runtime's poller, and cost four system calls.
func (s *Server) accept(listener syscall.RawConn) {
	for {
		accepted, turnedAway := 0, 0
		var err error
		closed := listener.Read(func(fd uintptr) bool {
			for accepted < acceptBatch {
				var c int
				c, _, err = unix.Accept4(int(fd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
				switch err {
				case nil:
					accepted++
					if !s.accepted(c) {
						turnedAway++
					}
				case unix.EINTR, unix.ECONNABORTED:
				case unix.EAGAIN:
					err = nil
					return accepted > 0
				default:
					return true
				}
			}
			return true
		})
		switch {
		case closed != nil:
			return
		case err != nil:
			s.pause(errorPause)
		case turnedAway > 0:
			s.pause(floodPause)
		}
	}
}

// accepted starts to serve a connection, or closes it and returns false.
func (s *Server) accepted(fd int) bool {
	p, err := peerCredentials(fd)
	if err != nil {
		closeFD(fd)
		return false
	}
	if !s.connects.allow(p.UID, time.Now()) {
		sendEvent(fd, tooFast)
		if s.refusesRights {
			closeFD(fd)
		} else {
			discard(fd)
		}
		s.refusals.add(p, errTooFast)
		return false
	}
	s.wg.Go(func() { s.serve(fd, p, s.config.Grant, false) })
	return true
}

// pause waits for d, or until the server is closed.
func (s *Server) pause(d time.Duration) {
	select {
	case <-s.ctx.Done():
	case <-time.After(d):
	}
}

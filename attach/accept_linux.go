package attach

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// acceptBatch bounds the connections that are accepted in one go.
	acceptBatch = 256

	// floodPause is the time between two batches while connections are turned away. It
	// saves the accept loop from being woken for each, and is short beside the time in
	// which a flood fills the backlog (net.core.somaxconn).
	floodPause = 2 * time.Millisecond

	// errorPause is how long accept waits after an error. The process is out of
	// descriptors, say: some may be closed.
	errorPause = 100 * time.Millisecond
)

// accept accepts connections until the listener is closed. Those that are turned away
// never reach the runtime's poller, and cost four system calls.
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
					if !s.arrived(c) {
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

// pause waits for d, or until the server is closed.
func (s *Server) pause(d time.Duration) {
	select {
	case <-s.open.Done():
	case <-time.After(d):
	}
}

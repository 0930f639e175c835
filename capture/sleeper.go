package capture

import (
	"context"
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/rxring/rxring/ring"
)

// errorSleeper is a Sleeper that returns a socket's pending error (SO_ERROR), once, when the ring
// has no packet. Only the reading goroutine calls its methods, but for SetDeadline.
type errorSleeper struct {
	ring.Sleeper
	pending error // read from the socket and not returned yet
}

// Sleep implements [ring.Sleeper].
func (s *errorSleeper) Sleep(ctx context.Context, ready func() bool) error {
	err := s.Sleeper.Sleep(ctx, ready)
	if err == s.pending {
		s.pending = nil
	}
	return err
}

// take returns the pending error, which it reads with getsockopt(SO_ERROR) unless it has one.
func (s *errorSleeper) take(soError func(val []byte) error) error {
	if s.pending == nil {
		var b [4]byte
		if err := soError(b[:]); err != nil {
			return err
		}
		if errno := syscall.Errno(binary.NativeEndian.Uint32(b[:])); errno != 0 {
			s.pending = fmt.Errorf("packet socket: %w", errno)
		}
	}
	return s.pending
}

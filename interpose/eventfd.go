//go:build linux && (amd64 || arm64)

package interpose

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// eventfd wakes the goroutine that polls it. It is a ring.Waker: any goroutine may
// call Wake, also after close.
type eventfd struct {
	mu sync.Mutex
	fd int // -1: closed
}

func newEventfd() (*eventfd, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("interpose: eventfd: %w", err)
	}
	return &eventfd{fd: fd}, nil
}

// Wake implements ring.Waker.
func (e *eventfd) Wake() {
	e.mu.Lock()
	if e.fd >= 0 {
		unix.Write(e.fd, eventfdOne[:])
	}
	e.mu.Unlock()
}

var eventfdOne = [8]byte{1}

// drain sets the counter to zero.
func (e *eventfd) drain() {
	var count [8]byte
	unix.Read(e.fd, count[:])
}

func (e *eventfd) close() {
	e.mu.Lock()
	unix.Close(e.fd)
	e.fd = -1
	e.mu.Unlock()
}

//go:build linux && (amd64 || arm64)

package interpose

import (
	"sync"

	"golang.org/x/sys/unix"
)

// bell wakes the session's goroutine: an eventfd in its poll. It is a
// ring.Waker.
type bell struct {
	mu sync.Mutex // a writer may ring it while it is closed
	fd int
}

func newBell() (*bell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return &bell{fd: fd}, err
}

// Wake implements ring.Waker.
func (b *bell) Wake() {
	b.mu.Lock()
	if b.fd >= 0 {
		unix.Write(b.fd, bellRing[:])
	}
	b.mu.Unlock()
}

var bellRing = [8]byte{1}

func (b *bell) silence() {
	var count [8]byte
	unix.Read(b.fd, count[:])
}

func (b *bell) close() {
	b.mu.Lock()
	unix.Close(b.fd)
	b.fd = -1
	b.mu.Unlock()
}

//go:build unix

package extcap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// openPoll is the time between attempts to open a FIFO, and between checks of the context
// while nothing else happens to one.
const openPoll = 20 * time.Millisecond

// openWriter opens a FIFO for writing when its reader has opened it, or ctx ends.
func openWriter(ctx context.Context, path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if !errors.Is(err, syscall.ENXIO) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: no program reads it", err)
		case <-time.After(openPoll):
		}
	}
}

// openControl opens a FIFO for reading. That it is open for writing, too, keeps it from ending
// before its writer has opened it.
func openControl(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
}

// awaitReaderGone returns when the other end of a pipe is closed, or ctx ends.
func awaitReaderGone(ctx context.Context, f *os.File) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	for ctx.Err() == nil {
		var gone bool
		err := conn.Control(func(fd uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd)}}
			n, err := unix.Poll(fds, 0)
			gone = err == nil && n > 0 && fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
		})
		if gone || err != nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(gonePoll):
		}
	}
}

// gonePoll is the time between checks whether the reader of a FIFO is gone: without packets,
// no write would tell.
const gonePoll = 200 * time.Millisecond

//go:build unix

package dump

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// openPoll is the time between attempts to open a FIFO: the kernel does not report its reader.
const openPoll = 20 * time.Millisecond

// OpenFIFO opens a FIFO for writing when its reader has opened it, or ctx ends.
func OpenFIFO(ctx context.Context, path string) (*os.File, error) {
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

// awaitReaderGone returns when the other end of a pipe is closed, or ctx ends: without packets,
// no write would fail. For a file that is no pipe it returns when ctx ends.
func awaitReaderGone(ctx context.Context, f *os.File) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	wake, end, err := os.Pipe()
	if err != nil {
		<-ctx.Done()
		return
	}
	defer wake.Close()
	stop := context.AfterFunc(ctx, func() { end.Close() })
	defer func() {
		if stop() {
			end.Close()
		}
	}()
	conn.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}, {Fd: int32(wake.Fd())}}
		for {
			if _, err := unix.Poll(fds, -1); err != unix.EINTR {
				return
			}
		}
	})
}

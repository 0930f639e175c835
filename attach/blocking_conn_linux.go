package attach

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/shortcall"
)

// blockingConn is a connection whose calls block in the kernel. An answer arrives within
// microseconds; through the runtime's poller it takes several times as long, especially to
// a goroutine that is locked to its thread.
type blockingConn struct {
	mu sync.Mutex // held for calls that do not block, and to close
	fd int        // -1: closed
}

// newBlockingConn replaces c, which it closes. No call blocks for longer than timeout.
func newBlockingConn(c *net.UnixConn, timeout time.Duration) (*blockingConn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &blockingConn{fd: -1}
	err2 := raw.Control(func(fd uintptr) { d.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, err2); err != nil {
		return nil, err
	}
	tv := unix.NsecToTimeval(timeout.Nanoseconds())
	for _, err := range []error{
		unix.SetNonblock(d.fd, false),
		unix.SetsockoptTimeval(d.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv),
		unix.SetsockoptTimeval(d.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv),
	} {
		if err != nil {
			unix.Close(d.fd)
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	return d, c.Close()
}

func (d *blockingConn) write(b, oob []byte) error {
	if oob == nil {
		if err := shortcall.Send(d.fd, b); err != unix.EAGAIN { // nearly always there is room
			return err
		}
	}
	for {
		_, err := unix.SendmsgN(d.fd, b, oob, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

func (d *blockingConn) read(b, oob []byte) (n, oobn, flags int, err error) {
	for {
		n, oobn, flags, _, err = unix.Recvmsg(d.fd, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			return max(n, 0), max(oobn, 0), flags, err
		}
	}
}

// hangUp ends the connection, and calls that block.
func (d *blockingConn) hangUp() {
	d.mu.Lock()
	if d.fd >= 0 {
		unix.Shutdown(d.fd, unix.SHUT_RDWR)
	}
	d.mu.Unlock()
}

// free closes the descriptor. No other call may be in progress.
func (d *blockingConn) free() {
	d.mu.Lock()
	closeFD(d.fd)
	d.fd = -1
	d.mu.Unlock()
}

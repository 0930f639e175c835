package attach

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// direct is a connection whose calls wait in the kernel: an answer comes within
// microseconds, and by way of the runtime's poller it takes several times as long,
// most of all to a goroutine that is locked to its thread.
type direct struct {
	mu sync.Mutex // held for calls that do not wait, and to close
	fd int        // -1: closed
}

// newDirect takes c over. No call waits longer than patience.
func newDirect(c *net.UnixConn, patience time.Duration) (*direct, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &direct{fd: -1}
	err2 := raw.Control(func(fd uintptr) { d.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, err2); err != nil {
		return nil, err
	}
	tv := unix.NsecToTimeval(patience.Nanoseconds())
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

func (d *direct) write(b, oob []byte) error {
	for {
		_, err := unix.SendmsgN(d.fd, b, oob, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

func (d *direct) read(b, oob []byte) (n, oobn, flags int, err error) {
	for {
		n, oobn, flags, _, err = unix.Recvmsg(d.fd, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			return max(n, 0), max(oobn, 0), flags, err
		}
	}
}

// hangUp ends the connection, and calls that wait.
func (d *direct) hangUp() {
	d.mu.Lock()
	if d.fd >= 0 {
		unix.Shutdown(d.fd, unix.SHUT_RDWR)
	}
	d.mu.Unlock()
}

// free closes the descriptor. Nobody may be in a call.
func (d *direct) free() {
	d.mu.Lock()
	closeFD(d.fd)
	d.fd = -1
	d.mu.Unlock()
}

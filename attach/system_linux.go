package attach

import (
	"errors"
	"math"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/shortcall"
)

func closeFD(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}

// shutDown ends a connection and leaves its descriptor open.
func shutDown(fd int) { unix.Shutdown(fd, unix.SHUT_RDWR) }

func truncated(flags int) bool { return flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 }

// receive receives a message and its control messages, without waiting.
func receive(fd int, b, oob []byte) (n, oobn, flags int, err error) {
	for {
		n, oobn, flags, err = shortcall.Recvmsg(fd, b, oob)
		if err != unix.EINTR {
			return n, oobn, flags, err
		}
	}
}

func wouldBlock(err error) bool { return err == unix.EAGAIN }

// unreadBytes is how much of the send buffer holds messages that the other end has not read
// (SIOCOUTQ), in bytes as SO_SNDBUF counts them.
func unreadBytes(fd int) int {
	var n int32
	if _, err := shortcall.Ioctl(fd, unix.SIOCOUTQ, unsafe.Pointer(&n)); err != nil {
		return 0
	}
	return int(n)
}

// eventPair makes the second connection. sendBuffer is the SO_SNDBUF of our end.
func eventPair(sendBuffer int) (ours, theirs int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, os.NewSyscallError("socketpair", err)
	}
	unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer) // a failure does no harm
	if err := unix.Shutdown(pair[0], unix.SHUT_RD); err != nil {             // what the peer sends is not read
		unix.Close(pair[0])
		unix.Close(pair[1])
		return -1, -1, os.NewSyscallError("shutdown", err)
	}
	return pair[0], pair[1], nil
}

// connectionPair returns the two ends of a connection.
func connectionPair() (ours, theirs int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, -1, os.NewSyscallError("socketpair", err)
	}
	return pair[0], pair[1], nil
}

// sendEvent sends an event, or drops it if the peer has not read earlier ones. It never
// waits.
func sendEvent(fd int, event []byte) { shortcall.Send(fd, event) }

// receiveEvent receives an event, without waiting. n is 0 at the end of the connection.
func receiveEvent(fd int, b []byte) (n int, err error) { return shortcall.Recv(fd, b, 0) }

// maxFiles is how many descriptors this process may have open (RLIMIT_NOFILE).
func maxFiles() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil || r.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(r.Cur)
}

// noFile explains EMFILE and ENFILE.
func noFile(err error) error {
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return explain.Errorf(unix.EAGAIN, "the server has no descriptors left: try again later, or raise its limit (LimitNOFILE= of systemd, ulimit -n)")
	}
	return err
}

// unixConn returns a connection with a duplicate of f's descriptor.
func unixConn(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errMessage
	}
	return u, nil
}

// hasHungUp reports whether the other end has closed the connection.
func hasHungUp(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		unix.Poll(fds, 0) // after EINTR the caller tries again
		gone = fds[0].Revents&(unix.POLLHUP|unix.POLLRDHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}

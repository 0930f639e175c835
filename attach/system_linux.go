package attach

import (
	"errors"
	"math"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/explain"
)

func closeFD(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}

// shutDown ends a connection, whose descriptor stays.
func shutDown(fd int) { unix.Shutdown(fd, unix.SHUT_RDWR) }

func truncated(flags int) bool { return flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 }

// peerOf asks the kernel who connected (SO_PEERCRED), without the groups.
func peerOf(fd int) (Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, os.NewSyscallError("getsockopt", err)
	}
	return Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid}, nil
}

// groupsOf returns the peer's supplementary groups (SO_PEERGROUPS).
func groupsOf(c *net.UnixConn) (groups []uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	err2 := raw.Control(func(fd uintptr) { groups, err = peerGroups(int(fd)) })
	if err == nil {
		err = err2
	}
	return groups, os.NewSyscallError("getsockopt", err)
}

// receive reads a message without waiting, and what control messages come with it.
func receive(fd int, b, oob []byte) (n, oobn, flags int, err error) {
	for {
		n, oobn, flags, _, err = unix.Recvmsg(fd, b, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			return n, oobn, flags, err
		}
	}
}

func wouldBlock(err error) bool { return err == unix.EAGAIN }

// unreadBytes is what the other end has not read of what was sent (SIOCOUTQ), in the
// currency of SO_SNDBUF.
func unreadBytes(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

// eventPair makes the second connection: a socket pair, of which an end goes to
// the peer. Ours has room for so many bytes of events (SO_SNDBUF).
func eventPair(room int) (ours, theirs int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, os.NewSyscallError("socketpair", err)
	}
	unix.SetsockoptInt(pair[0], unix.SOL_SOCKET, unix.SO_SNDBUF, room) // it need not succeed
	if err := unix.Shutdown(pair[0], unix.SHUT_RD); err != nil {       // nobody reads what is sent to it
		unix.Close(pair[0])
		unix.Close(pair[1])
		return -1, -1, os.NewSyscallError("shutdown", err)
	}
	return pair[0], pair[1], nil
}

// tell sends an event. Whatever the peer does to its end, this one does not wait:
// an event that finds no room is the peer's loss.
func tell(fd int, event []byte) { unix.Send(fd, event, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) }

// maxFiles is how many descriptors this process may have open.
func maxFiles() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil || r.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(r.Cur)
}

// noFile explains an error of a call that needs a descriptor more.
func noFile(err error) error {
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return explain.Errorf(unix.EAGAIN, "the server has no descriptors left: try again later, or have its limit raised (LimitNOFILE= of systemd, ulimit -n)")
	}
	return err
}

// unixConn makes a connection of f's socket, with a descriptor of its own.
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

// hungUp reports whether the other end of the connection has closed it.
func hungUp(c *net.UnixConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		unix.Poll(fds, 0) // EINTR: the next time
		gone = fds[0].Revents&(unix.POLLHUP|unix.POLLRDHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}

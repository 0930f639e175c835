package attach

import (
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peerCredentials returns the process that connected (SO_PEERCRED), without its groups.
func peerCredentials(fd int) (Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, os.NewSyscallError("getsockopt", err)
	}
	return Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid}, nil
}

// peerGroups returns the supplementary groups that the peer had when it connected.
func peerGroups(c *net.UnixConn) (groups []uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	err2 := raw.Control(func(fd uintptr) { groups, err = getPeerGroups(int(fd)) })
	if err == nil {
		err = err2
	}
	return groups, os.NewSyscallError("getsockopt", err)
}

// getPeerGroups is getsockopt of SO_PEERGROUPS, which package unix lacks.
func getPeerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		n := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(unsafe.SliceData(groups))), uintptr(unsafe.Pointer(&n)), 0)
		switch errno {
		case 0:
			return groups[:n/4], nil
		case unix.ERANGE: // n is the size that it needs
			groups = make([]uint32, n/4)
		case unix.ENOPROTOOPT, unix.ENODATA: // before Linux 4.13
			return nil, nil
		default:
			return nil, errno
		}
	}
}

package attach

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// peerGroups is SO_PEERGROUPS: the supplementary groups that a peer had when it
// connected. Package unix has no call for it.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		n := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(unsafe.SliceData(groups))), uintptr(unsafe.Pointer(&n)), 0)
		switch errno {
		case 0:
			return groups[:n/4], nil
		case unix.ERANGE: // n is how many bytes there are
			groups = make([]uint32, n/4)
		case unix.ENOPROTOOPT, unix.ENODATA: // before Linux 4.13
			return nil, nil
		default:
			return nil, errno
		}
	}
}

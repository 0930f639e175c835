//go:build linux && (amd64 || arm64)

package seccomp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Install installs a filter on the calling thread, which the threads and processes
// that it starts inherit, and returns the listener's descriptor. Later calls of this
// thread that the filter traps wait for the supervisor. PR_SET_NO_NEW_PRIVS must be
// set.
//
// killable reports that only a fatal signal interrupts a call that was received
// (Linux 5.19).
func Install(filter []unix.SockFilter) (fd int, killable bool, errno unix.Errno) {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// The filter is not a sandbox, so it need not slow down the processor's speculation
	// as Linux before 5.16 does for programs under a filter.
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	fd, errno = setFilter(flags|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &prog)
	if errno == unix.EINVAL { // before Linux 5.19
		fd, errno = setFilter(flags, &prog)
		return fd, false, errno
	}
	return fd, true, errno
}

func setFilter(flags uintptr, prog *unix.SockFprog) (int, unix.Errno) {
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(prog)))
	return int(fd), errno
}

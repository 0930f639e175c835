// Package shortcall makes system calls that do not wait, without a word to Go's scheduler. To be
// told of a call wakes its monitor thread, if nothing else runs: a futex call, a thread's wake-up
// and one or more naps, which cost more than the call.
//
// Recv and Recvmsg are for sockets that no other process reads: a read whose memory does not
// answer (userfaultfd, FUSE) holds the socket's lock, and MSG_DONTWAIT waits for it. A call that
// waits here stops the whole process at the next garbage collection.
package shortcall

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Recv receives from a socket.
func Recv(fd int, b []byte, flags int) (n int, err error) {
	return result(unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(flags|unix.MSG_DONTWAIT), 0, 0))
}

// Send sends to the socket that fd is connected to.
func Send(fd int, b []byte) error {
	_, err := result(unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0))
	return err
}

// Recvmsg receives a message and its control messages. Descriptors are closed on exec.
func Recvmsg(fd int, b, oob []byte) (n, oobn, flags int, err error) {
	v := unix.Iovec{Base: unsafe.SliceData(b)}
	v.SetLen(len(b))
	m := unix.Msghdr{Iov: &v, Control: unsafe.SliceData(oob)}
	m.SetIovlen(1)
	m.SetControllen(len(oob))
	n, err = result(unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC))
	return n, int(m.Controllen), int(m.Flags), err
}

// Getsockopt reads a socket option.
func Getsockopt(fd, level, name int, val []byte) error {
	n := uint32(len(val))
	_, err := result(unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name), uintptr(unsafe.Pointer(unsafe.SliceData(val))), uintptr(unsafe.Pointer(&n)), 0))
	return err
}

// Ioctl is ioctl with a pointer.
func Ioctl(fd int, request uintptr, arg unsafe.Pointer) (n int, err error) {
	return result(unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)))
}

// EpollWait returns how many events it has stored.
func EpollWait(set int, events []unix.EpollEvent) (n int, err error) {
	return result(unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(set), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0))
}

// Poll returns which of the events there are at fd, and its errors.
func Poll(fd int, events int16) (revents int16, err error) {
	p := unix.PollFd{Fd: int32(fd), Events: events}
	var now unix.Timespec
	_, err = result(unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0))
	return p.Revents, err
}

func result(r, _ uintptr, errno unix.Errno) (n int, err error) {
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

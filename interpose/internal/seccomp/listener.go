//go:build linux && (amd64 || arm64)

package seccomp

import (
	"bytes"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Notification mirrors struct seccomp_notif (linux/seccomp.h).
type Notification struct {
	ID    uint64
	TID   uint32 // the calling thread, in our PID namespace
	Flags uint32
	NR    int32
	Arch  uint32
	IP    uint64
	Args  [6]uint64
}

// response mirrors struct seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	err   int32 // negative errno
	flags uint32
}

// addfd mirrors struct seccomp_notif_addfd.
type addfd struct {
	id         uint64
	flags      uint32
	srcFD      uint32
	newFD      uint32
	newFDFlags uint32
}

// The compiler checks the mirrors: the sizes are part of the ioctl numbers.
var (
	_ [80]byte = [unsafe.Sizeof(Notification{})]byte{}
	_ [24]byte = [unsafe.Sizeof(response{})]byte{}
	_ [24]byte = [unsafe.Sizeof(addfd{})]byte{}
)

// Listener receives and answers the notifications of a filter. Its methods may be
// called concurrently. An answer to a call that has ended meanwhile gives ENOENT.
type Listener struct {
	fd       int
	killable bool
	// atomic means that the kernel can inject a descriptor and answer the call with it
	// in one step (Linux 5.14).
	atomic bool
	// endsReceive means that Receive returns when the last process under the filter
	// has ended (Linux 6.11).
	endsReceive bool
}

// NewListener takes over a descriptor from [Install].
func NewListener(fd int, killable bool) *Listener {
	return &Listener{fd: fd, killable: killable, endsReceive: receiveEnds()}
}

// FD is the descriptor: poll reports POLLIN for a notification, and POLLHUP when the
// last process under the filter has ended.
func (l *Listener) FD() int { return l.fd }

// Killable reports whether only a fatal signal interrupts a call that was received
// (Linux 5.19). Otherwise any signal does.
func (l *Listener) Killable() bool { return l.killable }

// EndsReceive reports whether [Listener.Receive] returns when the last process under
// the filter has ended. On Linux before 6.11 it waits forever.
func (l *Listener) EndsReceive() bool { return l.endsReceive }

// Close closes the listener. Calls that wait get ENOSYS.
func (l *Listener) Close() error { return unix.Close(l.fd) }

func (l *Listener) ioctl(cmd uintptr, arg unsafe.Pointer) (int, error) {
	for {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), cmd, uintptr(arg))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Probe checks, with a notification id that does not exist, whether the kernel can do
// what a supervisor needs. If not, it returns the missing feature, the Linux version
// that has it, and the error.
func (l *Listener) Probe() (feature, since string, err error) {
	r := response{flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if _, err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)); !errors.Is(err, unix.ENOENT) {
		return "continuing a system call after seccomp user notification", "5.5", err
	}
	// An unknown flag is refused before the descriptor is.
	a := addfd{srcFD: ^uint32(0)}
	if _, err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&a)); !errors.Is(err, unix.EBADF) {
		return "adding descriptors by seccomp user notification", "5.9", err
	}
	a.flags = unix.SECCOMP_ADDFD_FLAG_SEND
	_, err = l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&a))
	l.atomic = errors.Is(err, unix.EBADF)
	// The program and the supervisor run in turn: this lets the scheduler put them on
	// one processor (Linux 6.6). Older kernels refuse, and nothing is lost.
	unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	return "", "", nil
}

// Receive waits for the next notification. ENOENT means that a signal ended the call
// before it was received.
func (l *Listener) Receive() (n Notification, err error) {
	_, err = l.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n))
	return n, err
}

// Valid reports whether the thread still waits for the answer. If it does, the thread
// has existed all the time since the notification, so what was read of it by its
// number meanwhile is its.
func (l *Listener) Valid(id uint64) bool {
	_, err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id))
	return err == nil
}

// Continue has the kernel run the call as the program made it.
func (l *Listener) Continue(id uint64) error {
	return l.send(response{id: id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE})
}

// Return has the call return val.
func (l *Listener) Return(id uint64, val int64) error { return l.send(response{id: id, val: val}) }

// Fail has the call return an errno.
func (l *Listener) Fail(id uint64, errno unix.Errno) error {
	return l.send(response{id: id, err: -int32(errno)})
}

func (l *Listener) send(r response) error {
	_, err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
	return err
}

// ReturnFD has the call return a new descriptor for our fd, and returns its number.
func (l *Listener) ReturnFD(id uint64, fd int, cloexec bool) (int, error) {
	a := addfd{id: id, srcFD: uint32(fd), newFDFlags: closeOnExec(cloexec)}
	if l.atomic {
		a.flags = unix.SECCOMP_ADDFD_FLAG_SEND
	}
	n, err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&a))
	if err != nil || l.atomic {
		return n, err
	}
	return n, l.Return(id, int64(n))
}

// Replace puts our fd at number n of the caller's descriptors, as dup3 does. The call
// goes on waiting for its answer.
func (l *Listener) Replace(id uint64, fd int, n int32, cloexec bool) error {
	a := addfd{
		id:         id,
		flags:      unix.SECCOMP_ADDFD_FLAG_SETFD,
		srcFD:      uint32(fd),
		newFD:      uint32(n),
		newFDFlags: closeOnExec(cloexec),
	}
	_, err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&a))
	return err
}

func closeOnExec(on bool) uint32 {
	if on {
		return unix.O_CLOEXEC
	}
	return 0
}

// HungUp reports whether the last process under the filter has ended.
func (l *Listener) HungUp() bool {
	fds := []unix.PollFd{{Fd: int32(l.fd)}}
	unix.Poll(fds, 0)
	return fds[0].Revents&unix.POLLHUP != 0
}

func receiveEnds() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	release, _, _ := bytes.Cut(u.Release[:], []byte{0})
	var major, minor int
	if n, _ := fmt.Sscanf(string(release), "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major > 6 || major == 6 && minor >= 11
}

//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification mirrors struct seccomp_notif (linux/seccomp.h).
type notification struct {
	ID    uint64
	TID   uint32 // the calling thread
	Flags uint32
	NR    int32
	Arch  uint32
	IP    uint64
	Args  [6]uint64
}

// response mirrors struct seccomp_notif_resp.
type response struct {
	ID    uint64
	Val   int64
	Error int32 // negative errno
	Flags uint32
}

// addfd mirrors struct seccomp_notif_addfd.
type addfd struct {
	ID         uint64
	Flags      uint32
	SrcFD      uint32
	NewFD      uint32
	NewFDFlags uint32
}

// listener is the descriptor that notifications come from.
type listener struct {
	fd int
	// atomic says that the kernel can inject a descriptor and answer the call
	// with it in one step (Linux 5.14).
	atomic bool
	// killable says that calls which were received are not interrupted (Linux 5.19).
	killable bool
	// wakes says that receive ends when the last process under the filter does.
	wakes bool
}

func (l *listener) ioctl(cmd uintptr, arg unsafe.Pointer) (int, error) {
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

// probe finds out, by calls about a notification that does not exist, whether
// the kernel can do what the supervisor needs.
func (l *listener) probe() error {
	r := response{Flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if _, err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)); !errors.Is(err, unix.ENOENT) {
		return &UnsupportedError{"continuing a system call after seccomp user notification", "5.5", err}
	}
	// A flag that the kernel does not know is refused before the descriptor.
	a := addfd{SrcFD: ^uint32(0)}
	if _, err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&a)); !errors.Is(err, unix.EBADF) {
		return &UnsupportedError{"adding descriptors by seccomp user notification", "5.9", err}
	}
	a.Flags = unix.SECCOMP_ADDFD_FLAG_SEND
	_, err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&a))
	l.atomic = errors.Is(err, unix.EBADF)
	l.wakes = wakesReceiver()
	// The program and the supervisor take turns: have the scheduler know
	// (Linux 6.6). Nothing is lost where it does not.
	unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	return nil
}

// receive takes the next notification. ENOENT: it vanished, a signal ended the
// call.
func (l *listener) receive() (n notification, err error) {
	_, err = l.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n))
	return n, err
}

// valid says whether the thread still waits for the answer: if so, its pid was
// its own all the time, and what was read with it is its.
func (l *listener) valid(id uint64) bool {
	_, err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id))
	return err == nil
}

func (l *listener) send(r response) error {
	_, err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
	return err
}

// inject answers a call with a new descriptor for fd, and returns its number.
func (l *listener) inject(id uint64, fd int, cloexec bool) (int, error) {
	a := addfd{ID: id, SrcFD: uint32(fd), NewFDFlags: closeOnExec(cloexec)}
	if l.atomic {
		a.Flags = unix.SECCOMP_ADDFD_FLAG_SEND
	}
	n, err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&a))
	if err != nil || l.atomic {
		return n, err
	}
	return n, l.send(response{ID: id, Val: int64(n)})
}

// replace puts fd at the caller's descriptor number n.
func (l *listener) replace(id uint64, fd int, n int32, cloexec bool) error {
	a := addfd{
		ID:         id,
		Flags:      unix.SECCOMP_ADDFD_FLAG_SETFD,
		SrcFD:      uint32(fd),
		NewFD:      uint32(n),
		NewFDFlags: closeOnExec(cloexec),
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

// errnoOf finds the errno in an error, EINVAL when there is none.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EINVAL
}

// The compiler checks the mirrors: the sizes are part of the ioctl numbers.
var (
	_ [80]byte = [unsafe.Sizeof(notification{})]byte{}
	_ [24]byte = [unsafe.Sizeof(response{})]byte{}
	_ [24]byte = [unsafe.Sizeof(addfd{})]byte{}
)

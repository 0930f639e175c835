//go:build linux && (amd64 || arm64)

package seccomp

import (
	"errors"
	"io"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/shortcall"
	"github.com/rxring/rxring/interpose/internal/epoll"
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
	atomic   bool
	notified *epoll.Set // of fd; nil before Probe
}

// NewListener takes over the descriptor of a filter's listener. Probe must be called before Receive.
func NewListener(fd int, killable bool) *Listener { return &Listener{fd: fd, killable: killable} }

// Killable reports whether only a fatal signal interrupts a call that was received
// (Linux 5.19). Otherwise any signal does.
func (l *Listener) Killable() bool { return l.killable }

// Close closes the listener. Calls that wait get ENOSYS.
func (l *Listener) Close() error {
	if l.notified != nil {
		l.notified.Close()
	}
	return unix.Close(l.fd)
}

// ioctl makes a call that does not wait for a program.
func (l *Listener) ioctl(cmd uintptr, arg unsafe.Pointer) (err error) {
	for {
		if _, err = shortcall.Ioctl(l.fd, cmd, arg); err != unix.EINTR {
			return err
		}
	}
}

// Probe prepares Receive, and checks, with a notification id that does not exist, whether the
// kernel can do what a supervisor needs. If not, it returns the missing feature, the Linux version
// that has it, and the error.
func (l *Listener) Probe() (feature, since string, err error) {
	r := response{flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)); !errors.Is(err, unix.ENOENT) {
		return "continuing a system call after seccomp user notification", "5.5", err
	}
	// An unknown flag is refused before the descriptor is.
	a := addfd{srcFD: ^uint32(0)}
	if err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&a)); !errors.Is(err, unix.EBADF) {
		return "adding descriptors by seccomp user notification", "5.9", err
	}
	a.flags = unix.SECCOMP_ADDFD_FLAG_SEND
	err = l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&a))
	l.atomic = errors.Is(err, unix.EBADF)
	// The program and the supervisor run in turn: this lets the scheduler put them on
	// one processor (Linux 6.6). Older kernels refuse, and nothing is lost.
	unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	if l.notified, err = epoll.New(); err == nil {
		err = l.notified.Ctl(unix.EPOLL_CTL_ADD, l.fd, unix.EPOLLIN) // not EPOLLOUT, which each answer causes
	}
	if err != nil {
		return "waiting for seccomp user notification", "5.0", err
	}
	return "", "", nil
}

// Receive waits for the next notification. ENOENT means that a signal ended the call
// before it was received, io.EOF that the last process under the filter has ended. One goroutine
// at a time may call it.
func (l *Listener) Receive() (n Notification, err error) {
	var events [1]unix.EpollEvent
	for events[0].Events&unix.EPOLLIN == 0 {
		if _, err = l.notified.Wait(events[:]); err != nil {
			return n, err
		}
		// EPOLLERR alone is no end: a signal ended the kernel's look (seccomp_notify_poll).
		if events[0].Events&(unix.EPOLLIN|unix.EPOLLHUP) == unix.EPOLLHUP {
			return n, io.EOF
		}
	}
	return n, l.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)) // waits for nothing: there is one, or was
}

// Valid reports whether the thread still waits for the answer. If it does, the thread
// has existed all the time since the notification, so what was read of it by its
// number meanwhile is its.
func (l *Listener) Valid(id uint64) bool {
	return l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id)) == nil
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
	return l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
}

// ReturnFD has the call return a new descriptor for our fd, and returns its number.
func (l *Listener) ReturnFD(id uint64, fd int, cloexec bool) (int, error) {
	a := addfd{id: id, srcFD: uint32(fd), newFDFlags: closeOnExec(cloexec)}
	if l.atomic {
		a.flags = unix.SECCOMP_ADDFD_FLAG_SEND
	}
	n, err := l.addFD(&a)
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
	_, err := l.addFD(&a)
	return err
}

// addFD blocks this thread's signals, such as those of Go's scheduler: when a signal interrupts
// the ioctl, a call that was to return the descriptor returns 0.
func (l *Listener) addFD(a *addfd) (n int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &blockable, &before); err != nil {
		return 0, err
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	for { // the call waits for the program's thread
		fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), unix.SECCOMP_IOCTL_NOTIF_ADDFD, uintptr(unsafe.Pointer(a)))
		switch errno {
		case 0:
			return int(fd), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// blockable is all signals but those that a thread's own faults raise.
var blockable = func() (set unix.Sigset_t) {
	for i := range set.Val {
		set.Val[i] = ^set.Val[i]
	}
	for _, sig := range []unix.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP} {
		set.Val[0] &^= 1 << (sig - 1)
	}
	return set
}()

func closeOnExec(on bool) uint32 {
	if on {
		return unix.O_CLOEXEC
	}
	return 0
}

//go:build linux && (amd64 || arm64)

package launcher

import (
	"encoding/binary"
	"errors"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"unsafe"
)

// Name is the launcher's argv[0]; argv[1] is the number of its end of the socket to its parent.
const Name = "rxring-launcher"

// IgnoredAtStart are the signals of [Forwarded] that were ignored when this process started:
// after Notify was called for a signal, Go no longer reports that it was ignored.
var IgnoredAtStart = ignoredSignals()

func init() {
	if len(os.Args) != 2 || os.Args[0] != Name || Elevated() {
		return
	}
	// The program inherits the filter of the thread that starts it.
	runtime.LockOSThread()
	if err := run(os.Args[1]); err != nil {
		os.Stderr.WriteString(Name + ": " + err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

// Elevated reports whether this process has another user's or group's rights than those of who
// executed it: then it does not run what its caller says.
func Elevated() bool { return os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() }

type launcher struct {
	conn *os.File
	own  chan os.Signal

	launched chan struct{} // closed when the program runs, or cannot

	// mu is held to reap and to kill: a process that was not reaped keeps its number.
	mu   sync.Mutex
	main int // the program, 0 when it is reaped
}

func run(arg string) error {
	fd, err := strconv.Atoi(arg)
	if err != nil {
		return errors.New("descriptor " + strconv.Quote(arg) + ": want the number of a socket to the process that calls Run")
	}
	syscall.CloseOnExec(fd)
	l := &launcher{conn: os.NewFile(uintptr(fd), "launcher socket"), own: make(chan os.Signal, 64), launched: make(chan struct{})}
	job, err := ReceiveJob(l.conn)
	if err != nil {
		return err
	}
	signal.Notify(l.own, Forwarded...)
	if step, errno := l.install(job.Filter); errno != 0 {
		return Send(l.conn, Event{Kind: Refused, Step: step, Value: uint32(errno)})
	}
	start := make(chan struct{})
	go l.obey(start)
	<-start
	for _, sig := range job.Ignored {
		signal.Ignore(sig) // what is ignored stays so across exec
	}
	pid, err := syscall.ForkExec(job.Path, job.Args, &syscall.ProcAttr{
		Dir:   job.Dir,
		Env:   job.Env,
		Files: []uintptr{0, 1, 2},
		// Without its supervisor the program's calls would fail oddly.
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	signal.Notify(l.own, Forwarded...)
	if err == nil {
		l.mu.Lock()
		l.main = pid
		l.mu.Unlock()
	}
	close(l.launched)
	if err != nil {
		return Send(l.conn, Event{Kind: NotStarted, Value: uint32(errnoOf(err))})
	}
	Send(l.conn, Event{Kind: Started})
	l.reap(pid)
	return nil
}

func errnoOf(err error) syscall.Errno {
	if errno, ok := err.(syscall.Errno); ok {
		return errno
	}
	return syscall.EINVAL
}

// What package syscall lacks (linux/prctl.h, linux/seccomp.h).
const (
	prSetChildSubreaper = 36
	prSetNoNewPrivs     = 38

	seccompSetModeFilter = 1
	flagSpecAllow        = 1 << 2 // SECCOMP_FILTER_FLAG_SPEC_ALLOW
	flagNewListener      = 1 << 3
	flagWaitKillable     = 1 << 5 // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
)

func prctl(option uintptr) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, 1, 0, 0, 0, 0)
	return errno
}

// install installs the filter on this thread and sends its listener. From then on a
// trapped call of this thread would wait for the supervisor, so another thread sends.
func (l *launcher) install(filter []syscall.SockFilter) (Step, syscall.Errno) {
	if errno := prctl(prSetChildSubreaper); errno != 0 {
		return Subreaper, errno
	}
	if errno := prctl(prSetNoNewPrivs); errno != 0 {
		return NoNewPrivs, errno
	}
	fd, killable, errno := setFilter(filter)
	if errno != 0 {
		return Seccomp, errno
	}
	e := Event{Kind: Listening}
	if killable {
		e.Value = 1
	}
	sent := make(chan error)
	go func() {
		b, _ := binary.Append(nil, binary.NativeEndian, e)
		err := syscall.Sendmsg(int(l.conn.Fd()), b, syscall.UnixRights(fd), nil, 0)
		syscall.Close(fd)
		sent <- err
	}()
	if err := <-sent; err != nil {
		return Sendmsg, errnoOf(err)
	}
	return 0, 0
}

// setFilter installs a filter on the calling thread, which the processes that it starts inherit,
// and returns the listener's descriptor. killable: only a fatal signal interrupts a call that the
// supervisor has received (Linux 5.19).
func setFilter(filter []syscall.SockFilter) (fd int, killable bool, errno syscall.Errno) {
	prog := syscall.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// The filter is not a sandbox, so it need not slow down the processor's speculation
	// as Linux before 5.16 does for programs under a filter.
	const flags = flagNewListener | flagSpecAllow
	fd, errno = seccomp(flags|flagWaitKillable, &prog)
	if errno == syscall.EINVAL { // before Linux 5.19
		fd, errno = seccomp(flags, &prog)
		return fd, false, errno
	}
	return fd, true, errno
}

func seccomp(flags uintptr, prog *syscall.SockFprog) (int, syscall.Errno) {
	fd, _, errno := syscall.RawSyscall(sysSeccomp, seccompSetModeFilter, flags, uintptr(unsafe.Pointer(prog)))
	return int(fd), errno
}

// reap waits for the program and for every process that it leaves behind.
func (l *launcher) reap(pid int) {
	for {
		const pAll = 0 // P_ALL (linux/wait.h)
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pAll, 0, 0, syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return // ECHILD: none is left
		}
		var status syscall.WaitStatus
		l.mu.Lock()
		got, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == nil && got == pid {
			l.main = 0
		}
		l.mu.Unlock()
		if err == nil && got == pid {
			Send(l.conn, Event{Kind: Exited, Value: uint32(status)})
		}
	}
}

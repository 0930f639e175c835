package reaper

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/proc"
)

// supervisorName is the supervisor's argv[0], which ps shows before the command.
const supervisorName = "rxring-exec"

// controlFD is the supervisor's end of the socket pair: the first of exec.Cmd's ExtraFiles.
const controlFD = 3

var initCalled bool

// Init must be called at the start of main, and of TestMain, in every program that uses this
// package. In a supervisor it does not return.
func Init() {
	initCalled = true
	if len(os.Args) == 3 && os.Args[0] == supervisorName {
		os.Exit(supervise(os.Args[1], os.Args[2]))
	}
}

// supervisor runs in a process of its own, with one goroutine that reaps.
type supervisor struct {
	control  *os.File
	shell    int           // its pid
	grace    time.Duration // between SIGTERM and SIGKILL
	reported map[int]bool  // which cannot be signalled
}

// supervise runs a command until it and all its descendants have ended.
func supervise(grace, command string) (code int) {
	runtime.LockOSThread() // the kernel signals the shell when the thread that started it ends
	unix.CloseOnExec(controlFD)
	s := &supervisor{control: os.NewFile(controlFD, "control"), reported: make(map[int]bool)}
	var err error
	if s.grace, err = time.ParseDuration(grace); err == nil {
		err = s.start(command)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// A last message must not end the supervisor once the reader of standard error has ended.
	signal.Ignore(syscall.SIGPIPE)
	return s.run()
}

// start starts the shell.
func (s *supervisor) start(command string) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	const shell = "/bin/sh"
	var err error
	s.shell, err = syscall.ForkExec(shell, []string{shell, "-c", command}, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM},
	})
	if err != nil {
		return &os.PathError{Op: "exec", Path: shell, Err: err}
	}
	// The stream ends when the command has closed it.
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	return os.NewSyscallError("dup3", unix.Dup3(int(null.Fd()), 1, 0))
}

// pollTime is the time between two looks at the command's processes while they end.
const pollTime = 10 * time.Millisecond

// run reaps until no process is left. Once the control socket is closed it ends them.
func (s *supervisor) run() int {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	end := make(chan os.Signal, 1)
	notifyUnlessIgnored(end, syscall.SIGTERM)
	// The terminal sends these to the whole process group. The command and rxring obey.
	notifyUnlessIgnored(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	go func() {
		io.Copy(io.Discard, s.control)
		end <- syscall.SIGTERM
	}()
	for !s.reap() {
		select {
		case <-children:
		case <-end:
			return s.end()
		}
	}
	return 0
}

func notifyUnlessIgnored(c chan os.Signal, signals ...os.Signal) {
	for _, sig := range signals {
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
}

// reap reaps the processes that have ended, and reports whether none is left.
func (s *supervisor) reap() (none bool) {
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); {
		case err == syscall.EINTR:
		case err != nil: // ECHILD
			return true
		case pid == 0:
			return false
		case pid == s.shell:
			var b [4]byte
			binary.NativeEndian.PutUint32(b[:], uint32(status))
			s.control.Write(b[:])
		}
	}
}

// end ends all processes.
func (s *supervisor) end() int {
	for _, p := range descendants(os.Getpid()) {
		p.Signal(syscall.SIGTERM)
	}
	for late := time.Now().Add(s.grace); time.Now().Before(late); time.Sleep(pollTime) {
		if s.reap() {
			return 0
		}
	}
	for ; ; time.Sleep(pollTime) {
		denied := s.kill()
		if s.reap() {
			return 0
		}
		if denied {
			return 1
		}
	}
}

// kill kills the children, whose own become children in turn. It reports whether only processes
// are left that it may not signal. A child that has ended keeps its number until it is reaped.
func (s *supervisor) kill() (denied bool) {
	children := proc.Children(os.Getpid())
	denied = len(children) > 0
	for _, pid := range children {
		if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
			denied = false
		} else if !s.reported[pid] {
			s.reported[pid] = true
			fmt.Fprintf(os.Stderr, "process %d, of another user, cannot be ended (%v): end it by hand\n", pid, err)
		}
	}
	return denied
}

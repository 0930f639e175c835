//go:build linux && (amd64 || arm64)

package interpose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/launcher"
	"github.com/rxring/rxring/interpose/internal/seccomp"
)

// killGrace is how long a program may take to end after SIGTERM. Tests change it.
var killGrace = 5 * time.Second

// Run runs a program on a namespace and waits until it and everything that it started
// have ended. How the program ended is not an error: see [Result]. There is an error
// if the program could not be started, which unwraps to [exec.ErrNotFound],
// [fs.ErrPermission] or the errno of execve; if this system cannot interpose
// ([errors.ErrUnsupported]); or if ctx ends, which sends SIGTERM to the program and, five
// seconds later, SIGKILL to all that is left: then it is ctx's error.
//
// Run executes /proc/self/exe, this program, again as its launcher, which works before main and
// before most packages are initialized: so not from a plugin, or a C program that Go is part of.
//
// While the program runs, the signals SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1 and
// SIGUSR2 to this process are passed on to it. It shares our process group and
// terminal.
//
// When Run returns, none of its processes, goroutines and descriptors is left. Run may
// be called several times concurrently, with the same namespace or others.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if err := cfg.check(); err != nil {
		return Result{}, err
	}
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	if launcher.Elevated() {
		return Result{}, fmt.Errorf("interpose: this process has the rights of user %d, and user %d executed it: %w: want a program that is not setuid or setgid", os.Geteuid(), os.Getuid(), unix.EPERM)
	}
	if err := checkSystem(); err != nil {
		return Result{}, err
	}
	path, err := lookPath(&cfg)
	if err != nil {
		return Result{}, err
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, launcher.Forwarded...)
	defer signal.Stop(signals)

	p, err := startLauncher(&cfg, path)
	if err != nil {
		return Result{}, err
	}
	defer p.end()
	l, err := p.listener()
	if err != nil {
		return Result{}, err
	}
	if feature, since, err := l.Probe(); err != nil {
		l.Close()
		return Result{}, &unsupportedError{feature, since, err}
	}
	s, err := newSession(&cfg, l, p.pid)
	if err != nil {
		l.Close()
		return Result{}, err
	}
	served := make(chan struct{})
	go func() {
		s.serveWaiting()
		close(served)
	}()
	var interrupting sync.WaitGroup
	interrupting.Go(func() {
		for {
			select {
			case <-cfg.Interrupt: // never, when it is nil
				s.interrupts.Wake()
			case <-served:
				return
			}
		}
	})
	res, err := p.run(ctx, path, signals)
	p.end() // first: then no process is left to be served
	close(s.stop)
	<-served
	interrupting.Wait()
	s.end()
	s.reports.fill(&res)
	return res, err
}

// program is the launcher as this process sees it.
type program struct {
	pid   int
	conn  *net.UnixConn
	ended bool
}

// startLauncher executes this program again, with the launcher's end of a
// socket among its descriptors.
func startLauncher(cfg *Config, path string) (*program, error) {
	env := cfg.Env
	if env == nil {
		env = os.Environ()
	}
	if err := checkStrings(cfg, env); err != nil {
		return nil, err
	}
	job := launcher.Job{Path: path, Dir: cfg.Dir, Args: cfg.Args, Env: env, Ignored: launcher.IgnoredAtStart}
	prog, err := filter(cfg.options())
	if err != nil {
		return nil, fmt.Errorf("interpose: %w", err)
	}
	for _, in := range prog {
		job.Filter = append(job.Filter, syscall.SockFilter(in))
	}

	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("interpose: socketpair: %w", err)
	}
	defer unix.Close(pair[1])
	conn, err := unixConn(pair[0])
	if err != nil {
		return nil, fmt.Errorf("interpose: %w", err)
	}
	files := inherited(cfg)
	argv := []string{launcher.Name, strconv.Itoa(len(files))}
	pid, err := syscall.ForkExec("/proc/self/exe", argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: append(files, uintptr(pair[1])),
	})
	if err != nil {
		conn.Close()
		return nil, startError("launcher", errnoOf(err))
	}
	p := &program{pid: pid, conn: conn}
	if err := launcher.SendJob(conn, &job); err != nil {
		p.end()
		return nil, fmt.Errorf("interpose: launcher: %w", err)
	}
	return p, nil
}

// checkStrings checks that execve and chdir can have them. Values of variables may be secret.
func checkStrings(cfg *Config, env []string) error {
	bad := func(what string) error {
		return fmt.Errorf("interpose: %s has a zero byte: %w: want none", what, unix.EINVAL)
	}
	for i, s := range cfg.Args {
		if strings.Contains(s, "\x00") {
			return bad(fmt.Sprintf("argument %d", i))
		}
	}
	for _, s := range env {
		if name, _, _ := strings.Cut(s, "="); strings.Contains(s, "\x00") {
			return bad(fmt.Sprintf("environment variable %.100q", name))
		}
	}
	if strings.Contains(cfg.Dir, "\x00") {
		return bad(fmt.Sprintf("directory %.100q", cfg.Dir))
	}
	return nil
}

// unixConn takes over a descriptor.
func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "launcher socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

// inherited are the descriptors that the launcher, and through it the program, gets: the
// standard ones, and after them those that we inherited, up to the first number that is
// free for the launcher's socket.
func inherited(cfg *Config) []uintptr {
	files := []uintptr{0, 1, 2}
	for i, f := range []*os.File{cfg.Stdin, cfg.Stdout, cfg.Stderr} {
		if f != nil {
			files[i] = f.Fd()
		}
	}
	for {
		fd := uintptr(len(files))
		flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			return files
		}
		files = append(files, fd)
	}
}

// listener receives the seccomp listener that the launcher made.
func (p *program) listener() (*seccomp.Listener, error) {
	first := make([]byte, launcher.EventSize)
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := p.conn.ReadMsgUnix(first, oob)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("interpose: the launcher ended early: %w", errors.Join(err, p.end()))
	}
	var e launcher.Event
	if err := launcher.Receive(bytes.NewReader(first[:n]), &e); err != nil {
		return nil, fmt.Errorf("interpose: launcher: %w", err)
	}
	errno := syscall.Errno(e.Value)
	switch {
	case e.Kind == launcher.Listening:
		msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err == nil && len(msgs) == 1 {
			var fds []int
			if fds, err = unix.ParseUnixRights(&msgs[0]); err == nil && len(fds) == 1 {
				return seccomp.NewListener(fds[0], e.Value == 1), nil
			}
		}
		return nil, fmt.Errorf("interpose: no listener from the launcher: %w", err)
	case e.Step != launcher.Seccomp:
		return nil, fmt.Errorf("interpose: launcher: %v: %w", e.Step, errno)
	case errno == unix.EBUSY:
		return nil, fmt.Errorf("interpose: this process is itself under seccomp user notification, and Linux allows one supervisor: %w: start it outside of that supervisor", errno)
	}
	return nil, &unsupportedError{"seccomp user notification", "5.0", errno}
}

// run starts the program, and passes on signals until the launcher has ended.
func (p *program) run(ctx context.Context, path string, signals <-chan os.Signal) (Result, error) {
	events := make(chan launcher.Event)
	go func() {
		defer close(events)
		for {
			var e launcher.Event
			if launcher.Receive(p.conn, &e) != nil {
				return
			}
			events <- e
		}
	}()
	res := Result{ExitCode: -1}
	failed := fmt.Errorf("interpose: the launcher ended before %s did", path)
	p.order(launcher.Go, 0)
	done := ctx.Done()
	var grace <-chan time.Time
	for {
		select {
		case sig := <-signals:
			p.order(launcher.Forward, sig.(syscall.Signal))
		case <-done:
			done = nil
			p.order(launcher.Signal, syscall.SIGTERM)
			grace = time.After(killGrace)
		case <-grace:
			p.order(launcher.Kill, 0)
		case e, ok := <-events:
			switch {
			case !ok && failed != nil:
				return res, failed
			case !ok && done == nil:
				return res, ctx.Err()
			case !ok:
				return res, nil
			case e.Kind == launcher.NotStarted:
				failed = startError(path, syscall.Errno(e.Value))
			case e.Kind == launcher.Exited:
				failed = nil
				res.setStatus(syscall.WaitStatus(e.Value))
			}
		}
	}
}

// order sends an order, unless the launcher has ended.
func (p *program) order(op launcher.Op, sig syscall.Signal) {
	launcher.Send(p.conn, launcher.Order{Op: op, Signal: uint8(sig)})
}

func (r *Result) setStatus(w syscall.WaitStatus) {
	if w.Signaled() {
		r.ExitCode, r.Signal = -1, w.Signal()
		return
	}
	r.ExitCode = w.ExitStatus()
}

// end closes the connection, whereupon the launcher kills what is left, and waits for
// the launcher.
func (p *program) end() error {
	if p.ended {
		return nil
	}
	p.ended = true
	p.conn.Close()
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(p.pid, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		case status.Signaled():
			return fmt.Errorf("launcher: %v", status.Signal())
		case status.ExitStatus() != 0:
			return fmt.Errorf("launcher: exit status %d", status.ExitStatus())
		default:
			return nil
		}
	}
}

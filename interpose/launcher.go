//go:build linux && (amd64 || arm64)

package interpose

import (
	"encoding/gob"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/interpose/internal/seccomp"
)

// The launcher is this program, executed again, between us and the interposed program.
// On one locked thread it installs the seccomp filter and starts the program, which
// inherits it. It stays to reap everything that the program leaves behind, so that this
// process need not wait for children that it does not know. If this process dies, it
// kills them.

// launcherName is the launcher's argv[0]; argv[1] is the number of its end of the socket
// to us.
const launcherName = "rxring-launcher"

// order is a message to the launcher, after its launch.
type order struct {
	Op     orderOp
	Signal syscall.Signal
}

type orderOp uint8

const (
	opGo      orderOp = iota // start the program: its calls are served now
	opForward                // pass on a signal that we got, unless the program got it, too
	opSignal                 // send the program a signal
	opKill                   // kill everything
)

// launch is the first message to the launcher.
type launch struct {
	Path    string
	Args    []string
	Env     []string
	Dir     string
	Ignored []syscall.Signal // by the program, when it starts
	Options options
}

// event is a message from the launcher, after one byte with the listener.
type event struct {
	Kind   eventKind
	What   string // evRefused: the step that failed
	Errno  syscall.Errno
	Status syscall.WaitStatus
}

type eventKind uint8

const (
	evRefused eventKind = iota // no listener: What and Errno
	evStarted
	evNotStarted // Errno
	evExited     // Status; descendants may still run
)

// The launcher's first byte accompanies the listener, or means that an event says why
// there is none.
const (
	byteListener = 'L'
	byteKillable = 'K' // only a fatal signal interrupts calls that were received
	byteRefused  = 'R'
)

var initCalled bool

// ignoredAtStart is set by Init: after Notify was called for a signal, Go no longer
// reports that it was ignored.
var ignoredAtStart []syscall.Signal

// Init must be called at the start of main, and of TestMain, in every program that uses
// this package. Run executes that program again as its launcher; there Init does the
// launcher's work and does not return.
func Init() {
	initCalled, ignoredAtStart = true, ignoredSignals()
	if len(os.Args) != 2 || os.Args[0] != launcherName {
		return
	}
	// The program inherits the filter of the thread that starts it.
	runtime.LockOSThread()
	if err := runLauncher(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", launcherName, err)
		os.Exit(1)
	}
	os.Exit(0)
}

type launcher struct {
	conn *net.UnixConn
	enc  *gob.Encoder
	dec  *gob.Decoder
	own  chan os.Signal

	launched chan struct{} // closed when the program runs, or cannot
	out      sync.Mutex    // for enc

	// mu is held to reap and to kill: a process that was not reaped keeps its number.
	mu   sync.Mutex
	main int // the program, 0 when it is reaped
}

func runLauncher(arg string) error {
	fd, err := strconv.Atoi(arg)
	if err != nil {
		return fmt.Errorf("descriptor %q: %w", arg, err)
	}
	conn, err := unixConn(fd)
	if err != nil {
		return err
	}
	l := &launcher{conn: conn, enc: gob.NewEncoder(conn), dec: gob.NewDecoder(conn), own: make(chan os.Signal, 64), launched: make(chan struct{})}
	var job launch
	if err := l.dec.Decode(&job); err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	signal.Notify(l.own, forwarded...)
	if what, errno := l.install(job.Options); errno != 0 {
		conn.Write([]byte{byteRefused})
		return l.enc.Encode(event{Kind: evRefused, What: what, Errno: errno})
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
	signal.Notify(l.own, forwarded...)
	if err == nil {
		l.mu.Lock()
		l.main = pid
		l.mu.Unlock()
	}
	close(l.launched)
	if err != nil {
		return l.send(event{Kind: evNotStarted, Errno: errnoOf(err)})
	}
	l.send(event{Kind: evStarted})
	l.reap(pid)
	return nil
}

// unixConn takes over a descriptor.
func unixConn(fd int) (*net.UnixConn, error) {
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "launcher socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("descriptor %d is not a unix socket", fd)
	}
	return conn, nil
}

func (l *launcher) send(e event) error {
	l.out.Lock()
	defer l.out.Unlock()
	return l.enc.Encode(e)
}

// install installs the filter on this thread and sends its listener. From then on a
// trapped call of this thread would wait for us, so another thread sends.
func (l *launcher) install(o options) (what string, errno syscall.Errno) {
	prog, err := filter(o)
	if err != nil {
		return err.Error(), unix.EINVAL
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return "PR_SET_CHILD_SUBREAPER", errnoOf(err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return "PR_SET_NO_NEW_PRIVS", errnoOf(err)
	}
	fd, killable, errno := seccomp.Install(prog)
	if errno != 0 {
		return "seccomp", errno
	}
	first := byte(byteListener)
	if killable {
		first = byteKillable
	}
	sent := make(chan error)
	go func() {
		_, _, err := l.conn.WriteMsgUnix([]byte{first}, unix.UnixRights(fd), nil)
		unix.Close(fd)
		sent <- err
	}()
	if err := <-sent; err != nil {
		return "sendmsg", errnoOf(err)
	}
	return "", 0
}

// reap waits for the program and for every process that it leaves behind.
func (l *launcher) reap(pid int) {
	for {
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
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
			l.send(event{Kind: evExited, Status: status})
		}
	}
}

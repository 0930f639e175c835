package feed

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rxring/rxring/internal/printable"
)

// commandOpener runs a command, whose standard output is the stream.
type commandOpener struct{ command string }

// maxErrorLine bounds a line of a command's standard error, in bytes. The rest of it is another
// line.
const maxErrorLine = 4096

// commandErrors receives the lines that commands write to standard error.
var commandErrors = func(command, line string) {
	fmt.Fprintf(printable.Writer(os.Stderr), "%s: %s\n", command, line)
}

// SetCommandErrors makes f receive each line that a command of exec: writes to standard error.
// Otherwise they are printed on standard error. It must be called before a source is inspected;
// f may be called concurrently.
func SetCommandErrors(f func(command, line string)) { commandErrors = f }

// command is a command that runs.
type command struct {
	cmd    *exec.Cmd
	out    *os.File      // its standard output
	exited chan struct{} // closed once it has exited
	err    error         // of Wait, valid once exited is closed
	shown  chan struct{} // closed once its standard error was passed on
	end    sync.Once
}

func (o commandOpener) open(context.Context) (io.ReadCloser, error) {
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	stderr, errors, err := os.Pipe()
	if err != nil {
		out.Close()
		stdout.Close()
		return nil, err
	}
	c := &command{cmd: exec.Command("/bin/sh", "-c", o.command), out: out, exited: make(chan struct{}), shown: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = stdout, errors
	dieWithParent(c.cmd)
	started := make(chan error)
	go func() {
		// The kernel signals the command when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		stdout.Close()
		errors.Close()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
			close(c.exited)
		}
	}()
	if err := <-started; err != nil {
		out.Close()
		stderr.Close()
		return nil, err
	}
	go func() {
		defer close(c.shown)
		showErrors(o.command, stderr)
	}()
	return c, nil
}

// showErrors passes on what the command writes to standard error.
func showErrors(command string, stderr *os.File) {
	defer stderr.Close()
	r := bufio.NewReaderSize(stderr, maxErrorLine)
	for {
		line, _, err := r.ReadLine()
		if err != nil {
			return
		}
		commandErrors(command, string(line))
	}
}

// exitTime is how long a command may run after it has closed its standard output, before it
// is ended, and after it was asked to end, before it is killed.
const exitTime = 2 * time.Second

// Read implements io.Reader. At the end of the output the command's exit status, unless it is 0,
// is the error.
func (c *command) Read(b []byte) (int, error) {
	n, err := c.out.Read(b)
	if err != io.EOF {
		return n, err
	}
	select {
	case <-c.exited:
		c.awaitErrors()
		if c.err != nil {
			return 0, fmt.Errorf("the command failed: %w", c.err)
		}
	case <-time.After(exitTime):
	}
	return 0, io.EOF
}

// errorTime is how long the end of a command waits for the last of its standard error, which a
// process that it has started may hold open.
const errorTime = 200 * time.Millisecond

func (c *command) awaitErrors() {
	select {
	case <-c.shown:
	case <-time.After(errorTime):
	}
}

// Close ends the command and the processes that it has started.
func (c *command) Close() error {
	c.end.Do(func() {
		c.out.Close()
		defer c.awaitErrors()
		family := descendants(c.cmd.Process.Pid)
		select {
		case <-c.exited:
			return
		default:
		}
		terminate(c.cmd.Process, family)
		if !c.awaitEnd(family) {
			kill(c.cmd.Process, family)
			<-c.exited
		}
	})
	return nil
}

// endPoll is the time between checks whether the command's processes have ended.
const endPoll = 10 * time.Millisecond

// awaitEnd reports whether the command and all of family end within exitTime.
func (c *command) awaitEnd(family []*os.Process) bool {
	late := time.After(exitTime)
	select {
	case <-c.exited:
	case <-late:
		return false
	}
	for slices.ContainsFunc(family, isRunning) {
		select {
		case <-time.After(endPoll):
		case <-late:
			return false
		}
	}
	return true
}

func isRunning(p *os.Process) bool { return p.Signal(syscall.Signal(0)) == nil }

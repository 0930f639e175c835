package feed

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/rxring/rxring/cmd/rxring/internal/reaper"
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
	*reaper.Command
	out   *os.File      // its standard output
	shown chan struct{} // closed once its standard error was passed on
	end   sync.Once
}

func (o commandOpener) open(context.Context) (io.ReadCloser, error) {
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, errors, err := os.Pipe()
	if err != nil {
		out.Close()
		return nil, err
	}
	defer errors.Close()
	c := &command{out: out, shown: make(chan struct{})}
	if c.Command, err = reaper.Start(o.command, stdout, errors); err != nil {
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

// statusTime is how long a command may run after it has closed its standard output, before that
// is taken for its end.
const statusTime = 2 * time.Second

// Read implements io.Reader. At the end of the output the command's exit status, unless it is 0,
// is the error.
func (c *command) Read(b []byte) (int, error) {
	n, err := c.out.Read(b)
	if err != io.EOF {
		return n, err
	}
	select {
	case <-c.Exited():
		c.awaitErrors()
		if err := c.Err(); err != nil {
			return 0, fmt.Errorf("the command failed: %w", err)
		}
	case <-time.After(statusTime):
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
		c.End()
		c.awaitErrors()
	})
	return nil
}

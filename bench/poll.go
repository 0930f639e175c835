package bench

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

//go:embed testdata/poll.c
var pollC []byte

// Rows of the table of polls.
const (
	rowPollKernel   = "on the kernel"
	rowPollRun      = "rxring run --from iface:"
	rowPollAttached = "rxring run --at a daemon"
)

const pollColumn = "poll"

// pollCells measures what a poll of a packet socket, with a ring in which there is nothing, takes an
// unmodified program.
func pollCells() (all []cell) {
	for _, p := range []struct {
		row   string
		start func(v *veth, dir string) (run []string, end func() error, err error)
	}{
		{rowPollKernel, func(*veth, string) ([]string, func() error, error) {
			return nil, func() error { return nil }, nil
		}},
		{rowPollRun, func(*veth, string) ([]string, func() error, error) {
			rxring, err := buildRxring()
			return []string{rxring, "run", "-q", "--from", "iface:" + vethFar, "--"}, func() error { return nil }, err
		}},
		{rowPollAttached, func(v *veth, dir string) ([]string, func() error, error) {
			run, _, end, err := serve(v, dir)
			return run, end, err
		}},
	} {
		all = append(all, cell{pollTable, p.row, pollColumn, func(budget time.Duration) (s Sample, err error) {
			dir, err := os.MkdirTemp("", "rxring-poll-")
			if err != nil {
				return s, err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			program := filepath.Join(dir, "poll")
			if err := compile(program, pollC); err != nil {
				return s, err
			}
			v, err := openVeth()
			if err != nil {
				return s, err
			}
			defer v.close()
			run, end, err := p.start(v, dir)
			if err != nil {
				return s, err
			}
			defer func() { err = errors.Join(err, end()) }()
			return polled(v, append(run, program), budget)
		}})
	}
	return all
}

// polled runs the program in the device's namespace.
func polled(v *veth, command []string, budget time.Duration) (s Sample, err error) {
	command = append(command, vethFar, strconv.FormatInt(budget.Microseconds(), 10))
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // with its namespace's thread
	var out []byte
	if err := v.far.Do(func() (err error) { out, err = cmd.Output(); return err }); err != nil {
		var said *exec.ExitError
		if errors.As(err, &said) {
			err = fmt.Errorf("%w: %.200s", err, said.Stderr)
		}
		return s, fmt.Errorf("%s: %w", command[0], err)
	}
	if _, err := fmt.Sscan(string(out), &s.Offered, (*int64)(&s.Elapsed)); err != nil {
		return s, fmt.Errorf("the program says %q: want a number of polls, and nanoseconds", out)
	}
	s.Accepted = s.Offered
	return s, nil
}

// Package reaper runs a shell command, and ends it with every process that it has started.
//
// On Linux the shell is the child of a supervisor: this program, executed again. The supervisor is
// the subreaper (prctl(2), PR_SET_CHILD_SUBREAPER) of the command: a process whose parent exits
// becomes its child, also one that has forked twice or called setsid(2). It needs no privilege,
// and leaves the command its user, terminal, session and namespaces, so that ssh can read its
// configuration and ask for a password.
//
// The one invariant: the supervisor exits once the command has no process left. It ends them when
// [Command.End] is called, and when this process has ended, even by SIGKILL.
//
// It cannot end a process of another user (sudo), one that was started by a daemon on behalf of
// the command (systemd-run, at, docker), and any once the supervisor itself was killed by
// SIGKILL. On other systems only the shell is killed.
package reaper

import (
	"errors"
	"os"
	"os/exec"
	"time"
)

// exitTime is the time between SIGTERM and SIGKILL. Tests change it.
var exitTime = 2 * time.Second

// Command is a shell command that runs. Its methods may be called concurrently.
type Command struct {
	cmd     *exec.Cmd
	control *os.File      // to the supervisor; nil: there is none
	exited  chan struct{} // closed once the shell has exited
	err     error         // why it failed; valid once exited is closed
	ended   chan struct{} // closed once the supervisor has exited
}

var errNoInit = errors.New("reaper: want a call of Init at the start of main")

// Exited returns a channel that is closed once the shell has exited. Its descendants may still run.
func (c *Command) Exited() <-chan struct{} { return c.exited }

// Err returns, once Exited is closed, the shell's exit status or signal as an error; nil: status 0.
func (c *Command) Err() error { return c.err }

package reaper

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Start runs a command with /bin/sh. Both files are the command's when Start returns nil: the
// caller closes its own.
func Start(command string, stdout, stderr *os.File) (*Command, error) {
	if !initCalled {
		return nil, errNoInit
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	control, theirs := os.NewFile(uintptr(fds[0]), "supervisor"), os.NewFile(uintptr(fds[1]), "supervisor")
	defer theirs.Close()
	c := &Command{
		cmd:     &exec.Cmd{Path: "/proc/self/exe", Args: []string{supervisorName, exitTime.String(), command}, Stdout: stdout, Stderr: stderr, ExtraFiles: []*os.File{theirs}},
		control: control,
		exited:  make(chan struct{}),
		ended:   make(chan struct{}),
	}
	if err := c.cmd.Start(); err != nil {
		control.Close()
		return nil, err
	}
	go func() {
		c.err = c.awaitStatus()
		close(c.exited)
		c.cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// awaitStatus receives the shell's wait status from the supervisor.
func (c *Command) awaitStatus() error {
	var b [4]byte
	if _, err := io.ReadFull(c.control, b[:]); err != nil {
		return fmt.Errorf("its supervisor, process %d, has ended: %w", c.cmd.Process.Pid, err)
	}
	switch status := syscall.WaitStatus(binary.NativeEndian.Uint32(b[:])); {
	case status.Signaled():
		return fmt.Errorf("signal: %v", status.Signal())
	case status.ExitStatus() != 0:
		return fmt.Errorf("exit status %d", status.ExitStatus())
	}
	return nil
}

// slack is the time that the supervisor may need beyond exitTime on a busy machine.
const slack = time.Second

// End ends the command and every process that it has started: by SIGTERM and, after 2 s, by
// SIGKILL. It returns once they have ended, or the supervisor, which continues, cannot end them.
func (c *Command) End() {
	c.control.Close()
	select {
	case <-c.ended:
	case <-time.After(exitTime + slack):
	}
}

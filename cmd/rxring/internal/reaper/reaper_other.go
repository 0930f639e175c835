//go:build !linux

package reaper

import (
	"os"
	"os/exec"
)

// Init must be called at the start of main in every program that uses this package.
func Init() {}

// Start runs a command with /bin/sh. Both files are the command's when Start returns nil: the
// caller closes its own.
func Start(command string, stdout, stderr *os.File) (*Command, error) {
	c := &Command{cmd: exec.Command("/bin/sh", "-c", command), exited: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = stdout, stderr
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.exited)
	}()
	return c, nil
}

// End kills the shell, and returns once it has ended.
func (c *Command) End() {
	c.cmd.Process.Kill()
	<-c.exited
}

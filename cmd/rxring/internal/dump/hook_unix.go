//go:build unix

package dump

import (
	"os/exec"
	"syscall"
)

// setOwnGroup has the command run in a process group of its own.
func setOwnGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

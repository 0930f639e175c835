//go:build !linux

package feed

import (
	"os"
	"os/exec"
)

func dieWithParent(*exec.Cmd) {}

func descendants(int) []*os.Process { return nil }

func terminate(p *os.Process, _ []*os.Process) { p.Kill() }

func kill(p *os.Process, _ []*os.Process) { p.Kill() }

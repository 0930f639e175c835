package feed

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent makes the kernel end the command if this process ends without Close. The command
// stays in this process group, so that it can ask the terminal for a password.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}

// maxDescendants bounds the processes of a command that Close ends.
const maxDescendants = 1000

// descendants returns the processes that a process has started, and those that they have.
func descendants(pid int) (all []*os.Process) {
	for pids := childrenOf(pid); len(pids) > 0 && len(all) < maxDescendants; pids = pids[1:] {
		if p, err := os.FindProcess(pids[0]); err == nil {
			all = append(all, p)
		}
		pids = append(pids, childrenOf(pids[0])...)
	}
	return all
}

func childrenOf(pid int) (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range lists {
		text, _ := os.ReadFile(name)
		for _, word := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(word); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

func terminate(p *os.Process, family []*os.Process) { signal(syscall.SIGTERM, p, family) }

func kill(p *os.Process, family []*os.Process) { signal(syscall.SIGKILL, p, family) }

// signal ignores errors: a process may have ended.
func signal(s os.Signal, p *os.Process, family []*os.Process) {
	p.Signal(s)
	for _, f := range family {
		f.Signal(s)
	}
}

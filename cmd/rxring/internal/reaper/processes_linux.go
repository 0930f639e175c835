package reaper

import (
	"os"

	"github.com/rxring/rxring/internal/proc"
)

// maxDescendants bounds the processes that receive SIGTERM. SIGKILL has no bound.
const maxDescendants = 1000

// descendants returns the processes that a process has started, and those that they have.
func descendants(pid int) (all []*os.Process) {
	for pids := proc.Children(pid); len(pids) > 0 && len(all) < maxDescendants; pids = pids[1:] {
		if p, err := os.FindProcess(pids[0]); err == nil {
			all = append(all, p)
		}
		pids = append(pids, proc.Children(pids[0])...)
	}
	return all
}

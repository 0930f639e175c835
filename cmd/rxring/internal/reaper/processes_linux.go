package reaper

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxDescendants bounds the processes that receive SIGTERM. SIGKILL has no bound.
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

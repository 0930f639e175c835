package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTimeOf returns the CPU time, in user space and kernel, that processes and their descendants
// have used so far. Descendants that have ended are not included.
func cpuTimeOf(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		var t unix.Timespec
		if err := unix.ClockGettime(processClock(pid), &t); err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		children, err := childrenOf(pid)
		if err != nil {
			return 0, err
		}
		below, err := cpuTimeOf(children)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(t.Nano()) + below
	}
	return sum, nil
}

// processClock is clock_getcpuclockid: MAKE_PROCESS_CPUCLOCK with CPUCLOCK_SCHED
// (linux/posix-timers_types.h), which counts nanoseconds, threads that have ended included.
func processClock(pid int) int32 { return int32(^pid<<3 | 2) }

// childrenOf lists the processes that a process's threads have started.
func childrenOf(pid int) (pids []int, err error) {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	for _, thread := range threads {
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, thread.Name()))
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(list)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, err
			}
			pids = append(pids, child)
		}
	}
	return pids, nil
}

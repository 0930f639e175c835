package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// What a Go program with some threads needs. With less, the runtime aborts sooner or later,
// and prints registers.
const (
	leastAddressSpace = 2500 << 20 // bytes; nearly all of it is reserved and never used
	leastTasks        = 24         // threads and processes of the user
)

// checkLimits returns an error for limits that are too low for rxring. With much lower ones
// the runtime aborts before main.
func checkLimits() error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_AS, &l); err == nil && l.Cur < leastAddressSpace {
		return fmt.Errorf("the limit on address space (ulimit -v %d) is too low: a Go program reserves far more than it uses: want unlimited, or at least %d; a memory cgroup limits memory in use", l.Cur>>10, leastAddressSpace>>10)
	}
	exempt := os.Getuid() == 0 // as in Linux, except in another user namespace
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &l); err == nil && !exempt && l.Cur < leastTasks {
		return fmt.Errorf("the limit on this user's processes and threads (ulimit -u %d) is too low: want at least %d", l.Cur, leastTasks)
	}
	return nil
}

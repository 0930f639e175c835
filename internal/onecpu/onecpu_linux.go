package onecpu

import (
	"os"
	"runtime"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

var calls atomic.Uint32

// next returns the processors that the calling thread may use, and the next one of them. It reports
// false if Linux does not say.
func next() (may, one unix.CPUSet, ok bool) {
	if unix.SchedGetaffinity(0, &may) != nil || may.Count() == 0 {
		return may, one, false
	}
	n := int(calls.Add(1)) % may.Count()
	for cpu := 0; ; cpu++ {
		if !may.IsSet(cpu) {
			continue
		}
		if n--; n < 0 {
			one.Set(cpu)
			return may, one, true
		}
	}
}

// pin leaves the thread where it is if the system does not allow another affinity.
func pin() {
	if _, one, ok := next(); ok {
		_ = unix.SchedSetaffinity(0, &one)
	}
}

// before is what Process has changed; zero: nothing.
var before struct {
	cpus  unix.CPUSet
	procs int
}

func pinAll() {
	// By its process ID, so that test programs side by side are on different processors.
	calls.Add(uint32(os.Getpid()))
	if may, one, ok := next(); ok {
		before.cpus, before.procs = may, runtime.GOMAXPROCS(1)
		setAll(one)
	}
}

func unpinAll() (undo func()) {
	if before.procs == 0 {
		return nil
	}
	var one unix.CPUSet
	if unix.SchedGetaffinity(0, &one) != nil {
		return nil
	}
	runtime.GOMAXPROCS(before.procs)
	setAll(before.cpus)
	return func() {
		runtime.GOMAXPROCS(1)
		setAll(one)
	}
}

// setAll sets the affinity of all threads. A thread has that of the one which started it: those that
// start meanwhile are seen the second time.
func setAll(cpus unix.CPUSet) {
	for range 2 {
		threads, _ := os.ReadDir("/proc/self/task")
		for _, thread := range threads {
			if tid, err := strconv.Atoi(thread.Name()); err == nil {
				_ = unix.SchedSetaffinity(tid, &cpus)
			}
		}
	}
}

package fairshare

import "golang.org/x/sys/unix"

// threadTime is how long this thread has had a processor, in nanoseconds. It takes a system call.
func threadTime() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return now()
	}
	return ts.Nano()
}

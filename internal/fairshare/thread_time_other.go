//go:build !linux

package fairshare

// threadTime stands for how long this thread has had a processor, in nanoseconds.
func threadTime() int64 { return now() }

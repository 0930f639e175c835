package serve

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"
)

// allowLocking raises RLIMIT_MEMLOCK to so many bytes of rings: a page of one reader's ring
// that is swapped out would delay the packets of all. It returns false if the limit cannot be
// raised and there is swap space. Call it before privileges are given up.
func allowLocking(rings int64) bool {
	var l unix.Rlimit
	want := uint64(rings)
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l) != nil || l.Cur >= want {
		return true
	}
	all := unix.Rlimit{Cur: want, Max: max(l.Max, want)}
	if unix.Setrlimit(unix.RLIMIT_MEMLOCK, &all) == nil {
		return true
	}
	l.Cur = l.Max
	unix.Setrlimit(unix.RLIMIT_MEMLOCK, &l)
	return !hasSwap()
}

// hasSwap reports whether /proc/swaps has a line after its heading.
func hasSwap() bool {
	b, err := os.ReadFile("/proc/swaps")
	return err == nil && bytes.Count(b, []byte{'\n'}) > 1
}

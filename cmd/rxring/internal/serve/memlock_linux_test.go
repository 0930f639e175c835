package serve

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A daemon may lock as many bytes as its rings may take, if it is allowed to.
func TestLockingIsAllowed(t *testing.T) {
	var before, now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &before); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_MEMLOCK, &before)
	low := unix.Rlimit{Cur: 4096, Max: before.Max}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &low); err != nil {
		t.Fatal(err)
	}
	const rings = 64 << 20
	ok := allowLocking(rings)
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &now); err != nil {
		t.Fatal(err)
	}
	if now.Cur != rings && now.Cur != before.Max {
		t.Errorf("it may lock %d bytes: want %d, or the most that is allowed, %d", now.Cur, rings, before.Max)
	}
	if !ok && (now.Cur >= rings || !hasSwap()) {
		t.Errorf("a warning though it may lock %d bytes, or there is no swap space", now.Cur)
	}
}

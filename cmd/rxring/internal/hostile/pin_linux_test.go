package hostile

import (
	"flag"
	"fmt"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/need"
)

var pinTime = flag.Duration("hostile.pin", 15*time.Second, "how long memory is pinned; a minute is worth a look")

// TestPinnedMemory has the daemon in a memory cgroup of its own, and another user pin what
// that user can. The daemon's cgroup must not grow past what the user's rule allows, and
// what a daemon needs.
func TestPinnedMemory(t *testing.T) {
	need.Time(t, "it waits until memory is pinned")
	needRoot(t)
	const (
		rule   = 64 << 20 // pinRule
		spare  = 32 << 20
		limit  = 256 << 20
		enough = 128 << 20 // pinned, for the test to show anything
	)
	a, _ := attackByName("pin")
	g := newMemoryGroup(t, limit)
	w := newWire(t)
	a.group = g
	d := serve(t, w, a)
	d.await()
	idle, err := g.used()
	must(t, err)
	attacker := start(t, "attacker", attackerUID, a.nice, a.name, d.at)
	sender := startSender(w.socket, quietPacket)
	defer sender.end()
	attacker.order("%s", attacked.order())
	time.Sleep(*pinTime)
	var pinned string
	most, err := g.used()
	must(t, err)
	attacker.close()
	attacker.result(&pinned)
	t.Logf("idle, the daemon used %d KiB; under a user who may have %d KiB, at most %d KiB. %s", idle>>10, rule>>10, most>>10, pinned)
	if most > rule+spare {
		t.Errorf("the daemon's memory cgroup used %d KiB: want at most %d KiB", most>>10, (rule+spare)>>10)
	}
	var mib int64
	if _, err := fmt.Sscan(pinned, &mib); err != nil || mib<<20 < enough {
		t.Errorf("%d MiB pinned, %v: want at least %d MiB", mib, err, enough>>20)
	}
	select {
	case <-d.ended:
		t.Errorf("the daemon ended: %v", d.cmd.ProcessState)
	default:
		d.end()
	}
}

// vmsplice is vmsplice(2), which package unix has for whole slices only.
func vmsplice(fd int, v *unix.Iovec) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_VMSPLICE, uintptr(fd), uintptr(unsafe.Pointer(v)), 1, unix.SPLICE_F_NONBLOCK, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

//go:build linux && (amd64 || arm64)

package interpose

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Each story is a C program that checks what it sees; see testdata/story.c.
func TestProgramsSeePacketSockets(t *testing.T) {
	for _, args := range []string{
		"ring net0 1/poll", "ring net0 2/poll", "ring net0 2/ppoll", "ring net0 2/select",
		"ring net0 2/pselect", "ring net0 2/epoll", "ring net0 1/epoll-edge", "ring net0 2/epoll-edge",
		"ring net0 2/epoll_pwait", "ring net0 2/epoll_pwait2",
		"lazy-edge net0", "timeout quiet0", "interrupt quiet0", "signal-storm quiet0", "receive quiet0",
		"threads net0", "two-sockets net0", "inherit net0", "again net0", "mmap-race net0", "late net0", "closed net0",
		"bystanders quiet0", "hostile quiet0 1", "hostile quiet0 2", "hostile quiet0 3",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			newWorld(t).tell(t, strings.Fields(args)...).ok(t)
		})
	}
}

func TestErrnosAreTheKernels(t *testing.T) {
	ours := newWorld(t).tell(t, "errnos", "quiet0").ok(t).stdout
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, only root can compare with the kernel's packet socket")
	}
	const device = "rxrtest0"
	if out, err := exec.Command("ip", "link", "add", device, "type", "veth", "peer", "name", device+"p").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, no device to compare on: %v: %s", err, out)
	}
	defer exec.Command("ip", "link", "del", device).Run()
	if out, err := exec.Command("ip", "link", "set", device, "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(needStory(t), "errnos", device).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	a, b := strings.Split(ours, "\n"), strings.Split(string(out), "\n")
	if len(a) != len(b) {
		t.Fatalf("%d lines, the kernel %d:\n%s\n%s", len(a), len(b), ours, out)
	}
	for i := range a {
		if a[i] != b[i] {
			t.Errorf("rxring: %s\nkernel: %s", a[i], b[i])
		}
	}
}

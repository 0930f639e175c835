//go:build linux && (amd64 || arm64)

package interpose

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Each story is a C program that checks what it sees; see testdata/story.c.
var stories = []string{
	"ring net0 1/poll", "ring net0 2/poll", "ring net0 2/ppoll", "ring net0 2/select",
	"ring net0 2/pselect", "ring net0 2/epoll", "ring net0 1/epoll-edge", "ring net0 2/epoll-edge",
	"ring net0 2/epoll_pwait", "ring net0 2/epoll_pwait2",
	"lazy-edge net0", "timeout quiet0", "interrupt quiet0", "signal-storm quiet0", "receive quiet0",
	"threads net0", "two-sockets net0", "inherit net0", "again net0", "mmap-race net0", "late net0",
	"closed net0", "bystanders quiet0",
}

func TestProgramsSeePacketSockets(t *testing.T) {
	for _, args := range append(stories, "hostile quiet0 1", "hostile quiet0 2", "hostile quiet0 3") {
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

// The stories are Linux's: they hold on the kernel's own packet sockets.
func TestStoriesHoldOnTheKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, only root can open the kernel's packet sockets")
	}
	bin := needStory(t)
	const busy, quiet = "rxrtest1", "rxrtest2"
	for _, args := range []string{
		"link add " + busy + " type veth peer name " + busy + "p", "link set " + busy + " up", "link set " + busy + "p up",
		"link add " + quiet + " type veth peer name " + quiet + "p", "link set " + quiet + " up",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED, no devices to compare on: ip %s: %v: %s", args, err, out)
		}
		if name, ok := strings.CutPrefix(args, "link add "); ok {
			name, _, _ = strings.Cut(name, " ")
			defer exec.Command("ip", "link", "del", name).Run()
			for _, dev := range []string{name, name + "p"} { // no packets but ours
				os.WriteFile("/proc/sys/net/ipv6/conf/"+dev+"/disable_ipv6", []byte("1"), 0)
			}
		}
	}
	peer, err := net.InterfaceByName(busy + "p")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(200 * time.Microsecond)
		defer tick.Stop()
		for seq := uint32(0); ; seq++ {
			select {
			case <-stop:
				unix.Close(fd)
				return
			case <-tick.C:
				unix.Sendto(fd, frame(seq), 0, &unix.SockaddrLinklayer{Ifindex: peer.Index})
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	var told sync.WaitGroup
	for _, args := range stories { // at a time: the kernel takes long to free a ring
		args := strings.NewReplacer("net0", busy, "quiet0", quiet).Replace(args)
		told.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), bound)
			defer cancel()
			if out, err := exec.CommandContext(ctx, bin, strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", args, err, out)
			}
		})
	}
	told.Wait()
}

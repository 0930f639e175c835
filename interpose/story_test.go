//go:build linux && (amd64 || arm64)

package interpose

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/kring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/onecpu"
)

// Each story is a C program that checks what it sees; see testdata/story.c.
var stories = []string{
	"ring net0 1/poll", "ring net0 2/poll", "ring net0 2/ppoll", "ring net0 2/select",
	"ring net0 2/pselect", "ring net0 2/epoll", "ring net0 1/epoll-edge", "ring net0 2/epoll-edge",
	"ring net0 2/epoll_pwait", "ring net0 2/epoll_pwait2",
	"ring net0 3/poll", "ring net0 3/select", "ring net0 3/epoll", "ring net0 3/epoll-edge",
	"lazy-edge net0", "timeout quiet0", "interrupt quiet0", "signal-storm quiet0", "receive quiet0", "receive-timeouts quiet0",
	"queue net0", "queue-read net0", "queue-threads net0", "queue-signals net0", "fanout net0",
	"threads net0", "two-sockets net0", "inherit net0", "again net0", "spinning net0", "mmap-race net0", "late net0",
	"closed net0", "bystanders quiet0", "descriptor-numbers quiet0", "devices quiet0", "files quiet0", "netlink quiet0",
	"edges wire0 0", "edges wire0 2", "edges wire0 3",
	"send wire0", "write-faults wire0", "send-signals wire0", "send-ring wire0 1", "send-ring wire0 2", "send-ring wire0 3",
	"both-rings wire0 0", "both-rings wire0 1",
}

// Each has calls of its own: they are made from the seed.
var hostile = map[place][]string{
	here:     {"hostile quiet0 1", "hostile quiet0 2", "hostile quiet0 3"},
	attached: {"hostile quiet0 4", "hostile quiet0 5", "hostile quiet0 6"},
}

func TestProgramsSeePacketSockets(t *testing.T) {
	need.Time(t, "it runs every program in several places")
	onecpu.Undo(t) // some change their memory while it is read
	inBothPlaces(t, func(t *testing.T, p place) {
		for _, args := range append(append(stories, "twice net0 "+string(p), "bounds quiet0"), hostile[p]...) {
			t.Run(args, func(t *testing.T) {
				t.Parallel()
				args := strings.Fields(args)
				newWorld(t, p).tell(t, args...).ok(t)
			})
		}
	})
}

func TestErrnosAreTheKernels(t *testing.T) {
	need.Time(t, "it runs many programs")
	inBothPlaces(t, func(t *testing.T, p place) {
		ours := newWorld(t, p).tell(t, "errnos", "quiet0").ok(t).stdout
		need.Root(t, "compare with the kernel's packet socket")
		ns := veths(t, "rxrtest0")
		theirs, err := in(ns, exec.Command(needStory(t), "errnos", "rxrtest0"))
		if err != nil {
			t.Fatalf("%v: %s", err, theirs)
		}
		a, b := strings.Split(ours, "\n"), strings.Split(theirs, "\n")
		if len(a) != len(b) {
			t.Fatalf("%d lines, the kernel %d:\n%s\n%s", len(a), len(b), ours, theirs)
		}
		for i := range a {
			if a[i] != b[i] {
				t.Errorf("rxring: %s\nkernel: %s", a[i], b[i])
			}
		}
	})
}

// A device goes down, up, and is removed, each when the story is ready for it.
func TestDevicesGoDown(t *testing.T) {
	need.Time(t, "it runs many programs")
	onecpu.Undo(t)
	inBothPlaces(t, func(t *testing.T, p place) {
		for _, story := range []string{"down", "send-down"} {
			t.Run(story, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, p)
				bin := needStory(t)
				ctx, cancel := context.WithTimeout(context.Background(), bound)
				defer cancel()
				runContext(t, ctx, w.config(bin, story, "net0"), func(line string) {
					switch line {
					case "ready":
						w.busy.SetUp(false)
					case "down":
						w.busy.SetUp(true)
					case "remove":
						if err := w.ns.RemoveDevice(w.busy); err != nil {
							t.Error(err)
						}
					}
				}).ok(t)
			})
		}
	})
}

// A program waits while its device is removed, or the server with all devices ends.
func TestDevicesGoAway(t *testing.T) {
	onecpu.Undo(t)
	inBothPlaces(t, func(t *testing.T, p place) {
		for _, how := range []string{"poll", "epoll", "recv", "read"} {
			for what, goes := range map[string]func(*world) error{
				"device": func(w *world) error { return w.ns.RemoveDevice(w.quiet) },
				"server": func(w *world) error { return w.server.Close() },
			} {
				if what == "server" && p == here {
					continue
				}
				t.Run(how+"/"+what, func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, p)
					ctx, cancel := context.WithTimeout(context.Background(), bound)
					defer cancel()
					o := runContext(t, ctx, w.config(needStory(t), "gone", "quiet0", how), func(line string) {
						if line == "remove" {
							if err := goes(w); err != nil {
								t.Error(err)
							}
						}
					}).ok(t)
					if len(o.Sockets) != 1 || o.Sockets[0].Device != "quiet0" || o.Sockets[0].Unknown != (what == "server") {
						t.Errorf("reports: %+v", o.Sockets)
					}
					if what == "server" && len(o.Missing) > 0 {
						t.Errorf("%q are said to be missing", o.Missing)
					}
				})
			}
		}
	})
}

// The same with the kernel's sockets.
func TestDevicesGoDownInTheKernel(t *testing.T) {
	need.Time(t, "it runs many programs")
	need.Root(t, "open the kernel's packet sockets")
	bin := needStory(t)
	for _, story := range []string{"down", "send-down"} {
		t.Run(story, func(t *testing.T) { goDownInTheKernel(t, bin, story) })
	}
}

func goDownInTheKernel(t *testing.T, bin, story string) {
	const device = "rxrtest3"
	ns := veths(t, device)
	defer feed(t, ns, device)()
	tellTheKernel(t, ns, bin, story, device, func(line string) {
		args := map[string]string{"ready": "set " + device + " down", "down": "set " + device + " up", "remove": "del " + device}[line]
		if args == "" {
			t.Error(line)
			return
		}
		ipLink(t, ns, args)
	})
}

// tellTheKernel runs a story on the kernel's sockets; line is called with each line that it
// writes.
func tellTheKernel(t *testing.T, ns *kring.Namespace, bin, story, device string, line func(string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, story, device)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line(lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func ipLink(t *testing.T, ns *kring.Namespace, args string) {
	t.Helper()
	if out, err := in(ns, exec.Command("ip", strings.Fields("link "+args)...)); err != nil {
		t.Errorf("ip link %s: %v: %s", args, err, out)
	}
}

// The stories are Linux's: they hold on the kernel's own packet sockets.
func TestStoriesHoldOnTheKernel(t *testing.T) {
	need.Time(t, "it runs every program")
	need.Root(t, "open the kernel's packet sockets")
	bin := needStory(t)
	const busy, quiet, wire = "rxrtest1", "rxrtest2", "rxrtest3"
	ns := veths(t, busy, quiet, wire)
	defer feed(t, ns, busy)()
	var told sync.WaitGroup
	for _, args := range stories { // at a time: the kernel takes long to free a ring
		args := strings.NewReplacer("net0", busy, "quiet0", quiet, "wire0", wire).Replace(args)
		told.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 4*bound)
			defer cancel()
			cmd := exec.CommandContext(ctx, bin, strings.Fields(args)...)
			cmd.Env = append(os.Environ(), "STORY_ON_KERNEL=1")
			if out, err := in(ns, cmd); err != nil {
				t.Errorf("%s: %v: %s", args, err, out)
			}
		})
	}
	told.Wait()
}

// feed sends frames to a veth until stop is called.
func feed(t *testing.T, ns *kring.Namespace, name string) (stop func()) {
	var peer *net.Interface
	var fd int
	if err := ns.Do(func() (err error) {
		if peer, err = net.InterfaceByName(name + "p"); err == nil {
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(200 * time.Microsecond)
		defer tick.Stop()
		for seq := uint32(0); ; seq++ {
			select {
			case <-done:
				unix.Close(fd)
				return
			case <-tick.C:
				unix.Sendto(fd, frame(seq), 0, &unix.SockaddrLinklayer{Ifindex: peer.Index})
			}
		}
	}()
	return func() { close(done); <-stopped }
}

// veths makes veth pairs NAME and NAMEp in a network namespace of its own.
func veths(t *testing.T, names ...string) *kring.Namespace {
	ns, err := kring.New()
	if err != nil {
		need.Skip(t, need.Kernel, "no network namespace: %v", err)
	}
	t.Cleanup(ns.Close)
	for _, name := range names {
		for _, args := range []string{
			"link add " + name + " type veth peer name " + name + "p", "link set " + name + " up", "link set " + name + "p up", "link set lo up",
		} {
			if out, err := in(ns, exec.Command("ip", strings.Fields(args)...)); err != nil {
				need.Skip(t, need.Kernel, "ip %s: %v: %s", args, err, out)
			}
		}
	}
	return ns
}

// in runs a command in a namespace and returns what it prints.
func in(ns *kring.Namespace, cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := ns.Do(cmd.Start); err != nil { // a child is where the thread is that started it
		return "", err
	}
	err := cmd.Wait()
	return out.String(), err
}

//go:build linux && (amd64 || arm64)

package interpose

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/onecpu"
)

const nobody = 65534

// situation is who runs a program, and where its devices are.
type situation struct {
	user  string
	uid   uint32
	place place
}

// situations has root and a user without any capability, and each place, once: for the nth case one
// way round, for the next the other.
func situations(t *testing.T, nth int) []situation {
	if os.Getuid() != 0 {
		t.Log("SKIPPED in part: only root can run tools as somebody else")
		me := uint32(os.Getuid())
		return []situation{{"me", me, here}, {"me", me, attached}}
	}
	if nth%2 == 0 {
		return []situation{{"root", 0, here}, {"nobody", nobody, attached}}
	}
	return []situation{{"root", 0, attached}, {"nobody", nobody, here}}
}

// Common tools, as their distribution built them.
func TestToolsCapture(t *testing.T) {
	need.Time(t, "it starts every tool twice")
	for nth, c := range []struct {
		args  string
		count int    // of lines
		with  string // each
	}{
		{"tcpdump -ni net0 -c 20", 20, "ethertype Unknown (0x88b5)"},
		{"tcpdump -ni net0 -c 20 --immediate-mode", 20, "ethertype Unknown (0x88b5)"},
		{"tcpdump -ni net0 -c 5 -s 96 ether proto 0x88b5 and greater 200", 5, "ethertype Unknown (0x88b5)"},
		{"tcpdump -ni any -c 5", 5, "0x88b5"},
		{"tcpdump -ni net0 -c 5 -B 64 -l", 5, "ethertype Unknown (0x88b5)"},
		{"dumpcap -i net0 -c 10 -w /dev/null", 1, "Packets received/dropped on interface 'net0'"},
		{"tshark -n -i net0 -c 10", 10, "0x88b5"},
	} {
		tool, _, _ := strings.Cut(c.args, " ")
		for _, s := range situations(t, nth) {
			t.Run(s.user+"/"+s.place.host("run")+" "+c.args, func(t *testing.T) {
				need.Program(t, tool)
				t.Parallel()
				h := startHost(t, s.place.host("run"), s.uid, strings.Fields(c.args)...)
				out, code := h.wait()
				if code != 0 {
					t.Fatalf("exit code %d:\n%s", code, out)
				}
				if n := linesWith(out, c.with); n < c.count {
					t.Errorf("%d lines with %q: want %d:\n%s", n, c.with, c.count, out)
				}
				if linesWith(out, "socket: net0: V") == 0 && linesWith(out, "socket: all devices: V") == 0 {
					t.Errorf("no ring reported:\n%s", out)
				}
			})
		}
	}
}

// ngrep matches IP packets only.
func TestNgrepMatches(t *testing.T) {
	need.Program(t, "ngrep")
	for _, s := range situations(t, 0) {
		t.Run(s.user, func(t *testing.T) {
			h := startHost(t, s.place.host("ip"), s.uid, "ngrep", "-d", "net0", "-n", "3", "-q", "needle")
			out, code := h.wait()
			if n := strings.Count(out, "a needle in"); code != 0 || n != 3 {
				t.Errorf("exit code %d, %d matches:\n%s", code, n, out)
			}
		})
	}
}

// Ctrl-C and kill end tcpdump as they always do: with its statistics.
func TestTcpdumpEndsWithStatistics(t *testing.T) {
	need.Time(t, "it runs many captures")
	need.Program(t, "tcpdump")
	for nth, c := range []struct {
		how, device string
		kill        func(h *host)
	}{
		{"Ctrl-C while packets come", "net0", func(h *host) { syscall.Kill(-h.cmd.Process.Pid, syscall.SIGINT) }},
		{"Ctrl-C while it waits", "quiet0", func(h *host) { syscall.Kill(-h.cmd.Process.Pid, syscall.SIGINT) }},
		{"kill while packets come", "net0", func(h *host) { h.cmd.Process.Signal(syscall.SIGTERM) }},
		{"kill while it waits", "quiet0", func(h *host) { h.cmd.Process.Signal(syscall.SIGTERM) }},
		{"kill -INT while it waits", "quiet0", func(h *host) { h.cmd.Process.Signal(syscall.SIGINT) }},
	} {
		for _, s := range situations(t, nth) {
			t.Run(s.user+"/"+s.place.host("run")+" "+c.how, func(t *testing.T) {
				t.Parallel()
				h := startHost(t, s.place.host("run"), s.uid, "tcpdump", "-ni", c.device, "-w", "/dev/null", "-U")
				h.await(t, "listening on")
				c.kill(h)
				out, code := h.wait()
				if code != 0 || linesWith(out, "received by filter") != 1 || linesWith(out, "dropped by kernel") != 1 {
					t.Errorf("exit code %d:\n%s", code, out)
				}
			})
		}
	}
}

// tcpdump ends, with libpcap's message, when its device is removed, but not when it goes down
// and up again.
func TestTcpdumpWhenItsDeviceChanges(t *testing.T) {
	need.Time(t, "it runs many captures")
	onecpu.Undo(t)
	inBothPlaces(t, func(t *testing.T, p place) {
		need.Program(t, "tcpdump")
		for _, mode := range []string{"", "--immediate-mode"} {
			if p == attached {
				t.Run(strings.TrimSpace("server goes away "+mode), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, p)
					ctx, cancel := context.WithTimeout(context.Background(), bound)
					defer cancel()
					o := runContext(t, ctx, w.config(strings.Fields("tcpdump -w /dev/null -ni net0 "+mode)...), func(line string) {
						if strings.Contains(line, "listening on") {
							w.server.Close()
						}
					})
					if o.err != nil || o.ExitCode != 1 || !strings.Contains(o.stdout, "The interface disappeared") {
						t.Errorf("exit code %d, %v:\n%s", o.ExitCode, o.err, o.stdout)
					}
				})
			}
			for _, name := range []string{"net0", "quiet0"} {
				t.Run(strings.TrimSpace("goes away "+name+" "+mode), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, p)
					d, _ := w.ns.DeviceByName(name)
					ctx, cancel := context.WithTimeout(context.Background(), bound)
					defer cancel()
					o := runContext(t, ctx, w.config(strings.Fields("tcpdump -w /dev/null -ni "+name+" "+mode)...), func(line string) {
						if strings.Contains(line, "listening on") {
							w.ns.RemoveDevice(d)
						}
					})
					if o.err != nil || o.ExitCode != 1 || !strings.Contains(o.stdout, "The interface disappeared") {
						t.Errorf("exit code %d, %v:\n%s", o.ExitCode, o.err, o.stdout)
					}
				})
			}
			t.Run(strings.TrimSpace("goes down "+mode), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, p)
				ctx, cancel := context.WithTimeout(context.Background(), bound)
				defer cancel()
				n := 0
				o := runContext(t, ctx, w.config(strings.Fields("tcpdump -lni net0 -c 900 "+mode)...), func(line string) {
					if n++; n == 100 || n == 500 {
						w.busy.SetUp(false)
						time.AfterFunc(100*time.Millisecond, func() { w.busy.SetUp(true) })
					}
				}).ok(t)
				if !strings.Contains(o.stdout, "900 packets captured") {
					t.Errorf("%s", o.stdout)
				}
			})
		}
	})
}

func TestTcpdumpNamesTheMissingDevice(t *testing.T) {
	need.Program(t, "tcpdump")
	o := run(t, Config{Namespace: newWorld(t, here).ns, Args: []string{"tcpdump", "-i", "eth7"}})
	if o.ExitCode != 1 || !strings.Contains(o.stdout, "eth7: No such device exists") {
		t.Errorf("exit code %d: %s", o.ExitCode, o.stdout)
	}
	if len(o.Missing) != 1 || o.Missing[0] != "eth7" {
		t.Errorf("missing: %q", o.Missing)
	}
}

// Programs that tcpdump starts, here to compress a finished file, work and are waited for.
func TestTcpdumpRotatesAndCompresses(t *testing.T) {
	need.Time(t, "it waits for periods of a second")
	need.Program(t, "tcpdump")
	dir := t.TempDir()
	w := newWorld(t, here)
	run(t, Config{
		Namespace: w.ns,
		Args:      []string{"tcpdump", "-Z", "root", "-ni", "net0", "-c", "3000", "-C", "1", "-z", "gzip", "-w", "cap"},
		Dir:       dir,
	}).ok(t)
	if _, err := os.Stat(filepath.Join(dir, "cap.gz")); err != nil {
		t.Error(err)
	}
}

// A program that its user may execute but not read may not be inspected: a message says why
// its packet sockets do not work.
func TestProgramThatMayNotBeInspected(t *testing.T) {
	need.Root(t, "run a program as somebody else")
	text, err := os.ReadFile(needStory(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(storyDir, "unreadable")
	if err := os.WriteFile(path, text, 0o711); err != nil {
		t.Fatal(err)
	}
	out, code := startHost(t, "run", nobody, path, "ring", "net0", "2/poll").wait()
	if code == 0 || strings.Count(out, "may not inspect") != 1 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

func linesWith(out, text string) (n int) {
	for l := range strings.Lines(out) {
		if strings.Contains(l, text) {
			n++
		}
	}
	return n
}

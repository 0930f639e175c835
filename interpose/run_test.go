//go:build linux && (amd64 || arm64)

package interpose

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/internal/proc"
)

func TestProgramEndsAsItWould(t *testing.T) {
	inBothPlaces(t, func(t *testing.T, p place) {
		w := newWorld(t, p)
		for _, code := range []string{"0", "1", "7", "255"} {
			o := w.tell(t, "code", "net0", code)
			if got := o.ExitCode; o.err != nil || o.Signal != 0 || code != strconv.Itoa(got) {
				t.Errorf("exit(%s): %+v", code, o)
			}
		}
		for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGUSR1} {
			o := w.tell(t, "die-by", "net0", strconv.Itoa(int(sig)))
			if o.err != nil || o.Signal != sig || o.ExitCode != -1 {
				t.Errorf("%v: %+v", sig, o)
			}
		}
	})
}

func TestProgramThatCannotStart(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		behaviour, path string
		want            error
	}{
		{"not in PATH", "rxring-no-such-program", exec.ErrNotFound},
		{"no such file", filepath.Join(dir, "none"), exec.ErrNotFound},
		{"below a file", file("plain", "x", 0o644) + "/x", exec.ErrNotFound},
		{"not executable", file("text", "x", 0o644), fs.ErrPermission},
		{"a directory", dir, fs.ErrPermission},
		{"no known format", file("noise", "\x00\x01\x02", 0o755), syscall.ENOEXEC},
		{"no interpreter", file("script", "#!/no/such/interpreter\n", 0o755), exec.ErrNotFound},
	} {
		o := run(t, Config{Namespace: newWorld(t, here).ns, Args: []string{c.path}})
		if !errors.Is(o.err, c.want) {
			t.Errorf("%s: %v: want %v", c.behaviour, o.err, c.want)
		}
	}
	// What execve could not pass on.
	for _, c := range []Config{{Args: []string{"true", "a\x00b"}}, {Args: []string{"true"}, Env: []string{"A=\x00"}}, {Args: []string{"true"}, Dir: "/\x00"}} {
		c.Namespace = newWorld(t, here).ns
		if o := run(t, c); !errors.Is(o.err, syscall.EINVAL) || !strings.Contains(o.err.Error(), " has a zero byte") {
			t.Errorf("%q: %v", c.Args, o.err)
		}
	}
}

func TestProgramKeepsItsSurroundings(t *testing.T) {
	inBothPlaces(t, func(t *testing.T, p place) {
		const script = `echo "$0 $1 $COLOUR $RXRING_TEST_INSTEAD"; pwd; umask; ulimit -n; ls /proc/self/fd
		grep -E 'Sig(Ign|Blk)|Groups' /proc/self/status; cut -d' ' -f5-8 /proc/self/stat`
		cmd := exec.Command("sh", "-c", script, "one", "two\xff")
		cmd.Env = []string{"COLOUR=gr\xfcn", "PATH=" + os.Getenv("PATH"), "RXRING_TEST_INSTEAD="}
		cmd.Dir = t.TempDir()
		r, w, err := os.Pipe() // as runContext has it
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cmd.Stdin, cmd.Stdout = os.Stdin, w
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		want, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		cfg := newWorld(t, p).config(append([]string{"sh"}, cmd.Args[1:]...)...)
		cfg.Env, cfg.Dir = cmd.Env, cmd.Dir
		o := run(t, cfg).ok(t)
		if o.stdout != string(want) {
			t.Errorf("interposed:\n%s\notherwise:\n%s", o.stdout, want)
		}
	})
}

func TestRunOutlastsWhatTheProgramStarted(t *testing.T) {
	inBothPlaces(t, func(t *testing.T, p place) {
		o := newWorld(t, p).tell(t, "orphan", "net0").ok(t)
		if o.stdout != "parent\norphan\n" {
			t.Errorf("output %q", o.stdout)
		}
		if len(o.Sockets) != 1 || o.Sockets[0].Totals.Captured < 50 {
			t.Errorf("sockets: %v", o.Sockets)
		}
	})
}

func TestCancelledContextEndsTheProgram(t *testing.T) {
	w := newWorld(t, here)
	ctx, cancel := context.WithCancel(context.Background())
	o := runContext(t, ctx, Config{Namespace: w.ns, Args: []string{needStory(t), "report", "net0", "1"}}, func(string) { cancel() })
	if !errors.Is(o.err, context.Canceled) || !strings.Contains(o.stdout, "1 signals") {
		t.Errorf("%+v", o)
	}
}

func TestProgramThatIgnoresTheEndIsKilled(t *testing.T) {
	w := newWorld(t, here)
	defer func(grace time.Duration) { killGrace = grace }(killGrace)
	killGrace = 0
	ctx, cancel := context.WithCancel(context.Background())
	o := runContext(t, ctx, Config{Namespace: w.ns, Args: []string{needStory(t), "forever", "net0"}}, func(string) { cancel() })
	if !errors.Is(o.err, context.Canceled) || o.Signal != syscall.SIGKILL {
		t.Errorf("%+v", o)
	}
	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	if o := runContext(t, ctx, Config{Namespace: w.ns, Args: []string{"sleep", "100"}}, nil); !errors.Is(o.err, context.Canceled) {
		t.Errorf("%+v", o)
	}
}

func TestNothingIsLeft(t *testing.T) {
	need.Time(t, "it runs programs for seconds")
	inEachPlace(t, func(t *testing.T, p place) {
		w := newWorld(t, p)
		bin := needStory(t)
		open := func() []string {
			entries, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				t.Fatal(err)
			}
			var links []string
			for _, e := range entries {
				l, _ := os.Readlink("/proc/self/fd/" + e.Name())
				if !strings.Contains(l, "/proc/") {
					links = append(links, e.Name()+" "+l)
				}
			}
			return links
		}
		run(t, w.config(bin, "again", "net0")).ok(t)
		before := open()
		for range 2 {
			run(t, w.config(bin, "again", "net0")).ok(t)
			run(t, w.config("/"))
		}
		if after := open(); len(after) > len(before) {
			t.Errorf("descriptors before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
		if left := proc.Children(os.Getpid()); len(left) > 0 {
			t.Errorf("children left: %v", left)
		}
		if w.busy.HasListeners() {
			t.Error("a socket is left on the device")
		}
	})
}

func TestReportsSayWhatSocketsDid(t *testing.T) {
	need.Time(t, "it runs many programs")
	inBothPlaces(t, func(t *testing.T, p place) {
		o := newWorld(t, p).tell(t, "ring", "net0", "1/poll").ok(t)
		if len(o.Sockets) != 1 {
			t.Fatalf("sockets: %v", o.Sockets)
		}
		s := o.Sockets[0]
		if s.Device != "net0" || s.Type != rxring.SockRaw || !s.HadRing || s.Geometry.FrameNr != 32 || s.Totals.Captured < 300 {
			t.Errorf("%+v", s)
		}
		if want := "net0: V1 ring of 32 x 2048 bytes, "; !strings.HasPrefix(s.String(), want) {
			t.Errorf("%s: want %s...", s, want)
		}
	})
}

func TestWhatWriteCannotSendIsSaidOnce(t *testing.T) {
	inBothPlaces(t, func(t *testing.T, p place) {
		o := newWorld(t, p).tell(t, "write-faults", "wire0").ok(t)
		if len(o.Sockets) != 2 || o.Sockets[0].Device != "wire0" || o.Sockets[0].Sent != 20 || o.Sockets[1].Sent != 0 {
			t.Errorf("%+v", o.Sockets)
		}
		if strings.Count(o.log, "\n") != 1 || !strings.Contains(o.log, "write to a packet socket: sendto: frame of 13 bytes: want the whole link-layer header") {
			t.Errorf("logged %q", o.log)
		}
	})
}

func TestReportsNameMissingDevices(t *testing.T) {
	need.Time(t, "it runs many programs")
	inBothPlaces(t, func(t *testing.T, p place) {
		o := newWorld(t, p).tell(t, "errnos", "quiet0").ok(t)
		if want := []string{"index 9999", "nosuch0"}; !slices.Equal(o.Missing, want) {
			t.Errorf("missing %q: want %q", o.Missing, want)
		}
	})
}

func TestClosedSocketsMakeRoom(t *testing.T) {
	need.Time(t, "it opens many sockets")
	inBothPlaces(t, func(t *testing.T, p place) {
		w, stop, err := makeWorld(rxring.NamespaceConfig{MaxMemory: 3 * 16384 * 4}, p)
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		if o := w.tell(t, "again", "net0").ok(t); o.log != "" {
			t.Errorf("logged: %s", o.log)
		}
	})
}

func TestRefusedMemoryIsSaidOnce(t *testing.T) {
	inBothPlaces(t, func(t *testing.T, p place) {
		w, stop, err := makeWorld(rxring.NamespaceConfig{MaxMemory: 16384}, p)
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		o := w.tell(t, "ring", "net0", "2/poll")
		if o.ExitCode != 1 || strings.Count(o.log, "\n") != 1 || !strings.Contains(o.log, "16384 bytes of ring memory") {
			t.Errorf("exit code %d, output %s, logged %q", o.ExitCode, o.stdout, o.log)
		}
	})
}

func TestSeveralProgramsAtATime(t *testing.T) {
	inBothPlaces(t, func(t *testing.T, p place) {
		w := newWorld(t, p)
		bin := needStory(t)
		results := make(chan output)
		for range 4 {
			go func() { results <- run(t, w.config(bin, "ring", "net0", "2/poll")) }()
		}
		for range 4 {
			if o := <-results; o.err != nil || o.ExitCode != 0 {
				t.Errorf("%+v", o)
			}
		}
	})
}

//go:build linux && (amd64 || arm64)

package interpose

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/rxring/rxring/internal/onecpu"
)

func TestSignalsReachTheProgramOnce(t *testing.T) {
	onecpu.Undo(t)
	uid := uint32(os.Getuid())
	t.Run("sent to us", func(t *testing.T) {
		t.Parallel()
		h := startHost(t, "run", uid, needStory(t), "report", "net0", "1")
		h.await(t, "ready")
		h.cmd.Process.Signal(syscall.SIGTERM)
		if out, code := h.wait(); code != 0 || !strings.Contains(out, "1 signals") {
			t.Errorf("exit code %d:\n%s", code, out)
		}
	})
	t.Run("ignored when it starts, as in a script's background", func(t *testing.T) {
		t.Parallel()
		h := startHost(t, "ignoring INT", uid, needStory(t), "report", "net0", "1")
		h.await(t, "ready")
		h.cmd.Process.Signal(syscall.SIGINT)
		if out, code := h.wait(); code != 0 || !strings.Contains(out, "1 signals") {
			t.Errorf("exit code %d:\n%s", code, out)
		}
	})
	t.Run("ignored by the program, too", func(t *testing.T) {
		t.Parallel()
		h := startHost(t, "ignoring HUP", uid, "sh", "-c", "kill -HUP $$; echo alive")
		if out, code := h.wait(); code != 0 || !strings.Contains(out, "alive") {
			t.Errorf("exit code %d:\n%s", code, out)
		}
	})
	t.Run("sent to the process group, as Ctrl-C", func(t *testing.T) {
		t.Parallel()
		h := startHost(t, "run", uid, needStory(t), "report", "net0", "2")
		h.await(t, "ready")
		syscall.Kill(-h.cmd.Process.Pid, syscall.SIGINT)
		h.await(t, "got 1")
		// Were the first one forwarded as well, this would be the third.
		h.cmd.Process.Signal(syscall.SIGUSR1)
		if out, code := h.wait(); code != 0 || !strings.Contains(out, "2 signals") || strings.Count(out, "got") != 2 {
			t.Errorf("exit code %d:\n%s", code, out)
		}
	})
}

func TestProgramDiesWithItsSupervisor(t *testing.T) {
	h := startHost(t, "run", uint32(os.Getuid()), needStory(t), "forever", "net0")
	h.await(t, "ready")
	h.cmd.Process.Kill()
	h.wait() // ends only when no process has the output open
}

// When devices deliver nothing more, only readers get SIGINT: a script goes on to its next
// command.
func TestInterruptReachesReaders(t *testing.T) {
	inBothPlaces(t, func(t *testing.T, p place) {
		ended := make(chan struct{}, 1)
		cfg := newWorld(t, p).config("sh", "-c", `"$0" report-reader quiet0 1; echo "then code $?"`, needStory(t))
		cfg.Interrupt = ended
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		o := runContext(t, ctx, cfg, func(line string) {
			if line == "ready" {
				ended <- struct{}{}
			}
		}).ok(t)
		if !o.Interrupted || !strings.Contains(o.stdout, "1 signals") || !strings.Contains(o.stdout, "then code 0") {
			t.Errorf("interrupted: %v, output:\n%s", o.Interrupted, o.stdout)
		}
		// A program without a socket is left alone.
		cfg.Args = []string{"sh", "-c", "sleep 0.3; echo done"}
		ended <- struct{}{}
		if o := run(t, cfg).ok(t); o.Interrupted || o.stdout != "done\n" {
			t.Errorf("interrupted: %v, output %q", o.Interrupted, o.stdout)
		}
	})
}

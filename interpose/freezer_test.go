//go:build linux && (amd64 || arm64)

package interpose

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring/internal/need"
)

// freezer is a control group whose processes can be frozen, as are those of a paused
// container, and all processes when the machine suspends.
type freezer struct {
	dir, procs, control, state string
	freeze, thaw, frozen       string
}

// newFreezer makes a control group of version 1 or 2.
func newFreezer(t *testing.T) *freezer {
	t.Helper()
	name := fmt.Sprintf("rxring-test-%d", os.Getpid())
	for _, f := range []freezer{
		{"/sys/fs/cgroup/freezer", "cgroup.procs", "freezer.state", "freezer.state", "FROZEN", "THAWED", "FROZEN"},
		{"/sys/fs/cgroup", "cgroup.procs", "cgroup.freeze", "cgroup.events", "1", "0", "frozen 1"},
	} {
		if _, err := os.Stat(filepath.Join(f.dir, "cgroup.procs")); err != nil {
			continue
		}
		f.dir = filepath.Join(f.dir, name)
		if os.Mkdir(f.dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { // the process may be about to end
			for range 500 {
				if os.Remove(f.dir) == nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Errorf("%s is left", f.dir)
		})
		if _, err := os.Stat(filepath.Join(f.dir, f.control)); err == nil {
			return &f
		}
	}
	need.Skip(t, need.System, "no control group that can be frozen")
	return nil
}

func (f *freezer) write(t *testing.T, file, text string) {
	if err := os.WriteFile(filepath.Join(f.dir, file), []byte(text), 0); err != nil {
		t.Error(err)
	}
}

// cycle freezes and thaws process pid several times.
func (f *freezer) cycle(t *testing.T, pid string) {
	f.write(t, f.procs, pid)
	for i := range 5 {
		time.Sleep(50 * time.Millisecond) // it waits by now
		f.write(t, f.control, f.freeze)
		state, frozen := "", false
		for end := time.Now().Add(bound); !frozen && time.Now().Before(end); time.Sleep(time.Millisecond) {
			b, err := os.ReadFile(filepath.Join(f.dir, f.state))
			if err != nil {
				t.Error(err)
			}
			state = string(b)
			frozen = strings.Contains(state, f.frozen)
		}
		f.write(t, f.control, f.thaw)
		if !frozen {
			t.Errorf("round %d: not frozen: %s", i, strings.TrimSpace(state))
			return
		}
	}
}

// A program that waits for a packet can be frozen: its container is paused, or the laptop
// suspends.
func TestProgramsThatWaitCanBeFrozen(t *testing.T) {
	need.Time(t, "it runs programs for seconds")
	f := newFreezer(t)
	inEachPlace(t, func(t *testing.T, p place) {
		w := newWorld(t, p)
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		runContext(t, ctx, w.config(needStory(t), "frozen", "quiet0"), func(line string) {
			if pid, ok := strings.CutPrefix(line, "freeze "); ok {
				f.cycle(t, pid)
				if err := w.ns.RemoveDevice(w.quiet); err != nil {
					t.Error(err)
				}
			}
		}).ok(t)
	})
	t.Run("kernel", func(t *testing.T) {
		need.Root(t, "open the kernel's packet sockets")
		const device = "rxrtest4"
		ns := veths(t, device)
		tellTheKernel(t, ns, needStory(t), "frozen", device, func(line string) {
			pid, ok := strings.CutPrefix(line, "freeze ")
			if !ok {
				t.Error(line)
				return
			}
			f.cycle(t, pid)
			ipLink(t, ns, "del "+device)
		})
	})
}

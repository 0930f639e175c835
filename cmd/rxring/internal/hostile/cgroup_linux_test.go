package hostile

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring/internal/need"
)

// memoryGroup is a memory cgroup of the test's own.
type memoryGroup struct {
	dir         string
	limit, peak string // names of files
}

// newMemoryGroup makes one with a limit, in version 1 or 2 of the hierarchy.
func newMemoryGroup(t testing.TB, limit int64) *memoryGroup {
	t.Helper()
	name := fmt.Sprintf("rxring-hostile-%d", os.Getpid())
	var tried error
	for _, g := range []*memoryGroup{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"},
		{"/sys/fs/cgroup", "memory.max", "memory.peak"},
	} {
		g.dir = filepath.Join(g.dir, name)
		err := os.Mkdir(g.dir, 0o755)
		if err != nil {
			tried = errors.Join(tried, err)
			continue
		}
		t.Cleanup(func() {
			for range 100 { // its last process may have just ended
				if os.Remove(g.dir) == nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Errorf("%s is left", g.dir)
		})
		if err := os.WriteFile(filepath.Join(g.dir, g.limit), []byte(strconv.FormatInt(limit, 10)), 0); err != nil {
			tried = errors.Join(tried, err)
			continue
		}
		if _, err := g.used(); err != nil {
			tried = errors.Join(tried, err)
			continue
		}
		return g
	}
	need.Skip(t, need.System, "no memory cgroup: %v", tried)
	return nil
}

// enter has a command that is yet to be started run in the group.
func (g *memoryGroup) enter(cmd *exec.Cmd) {
	cmd.Args = append([]string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(g.dir, "cgroup.procs"), cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
}

// used is the most that it has used so far, in bytes.
func (g *memoryGroup) used() (n int64, err error) {
	b, err := os.ReadFile(filepath.Join(g.dir, g.peak))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

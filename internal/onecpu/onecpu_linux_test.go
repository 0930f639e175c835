package onecpu

import (
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/need"
)

// TestPrograms: programs of as many goroutines as there are processors have one each, and those of
// another goroutine all of them.
func TestPrograms(t *testing.T) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range may.Count() {
		done := make(chan string)
		go func() {
			Programs()
			done <- allowed(t)
		}()
		cpus := <-done
		if strings.ContainsAny(cpus, "-,") {
			t.Errorf("the program may use processors %s: want one", cpus)
		}
		seen[cpus] = true
	}
	if len(seen) != may.Count() {
		t.Errorf("processors %v: want each of %d once", seen, may.Count())
	}
	if cpus := allowed(t); may.Count() > 1 && !strings.ContainsAny(cpus, "-,") {
		t.Errorf("a program of another goroutine may use processors %s: want all", cpus)
	}
}

// TestUndo: of a process on one processor, programs have all of them while a test asks for it.
func TestUndo(t *testing.T) {
	all := allowed(t)
	if !strings.ContainsAny(all, "-,") {
		need.Skip(t, need.System, "there is one processor")
	}
	pinAll() // Process does nothing if benchmarks run
	t.Cleanup(func() { unpinAll() })
	one := allowed(t)
	if strings.ContainsAny(one, "-,") {
		t.Errorf("the program may use processors %s: want one", one)
	}
	t.Run("undone", func(t *testing.T) {
		Undo(t)
		if cpus := allowed(t); cpus != all {
			t.Errorf("the program may use processors %s: want %s", cpus, all)
		}
	})
	if cpus := allowed(t); cpus != one {
		t.Errorf("afterwards, the program may use processors %s: want %s", cpus, one)
	}
}

// allowed returns which processors a program may use that the calling goroutine starts.
func allowed(t *testing.T) string {
	out, err := exec.Command("sed", "-n", "s/^Cpus_allowed_list:\t//p", "/proc/self/status").Output()
	if err != nil {
		t.Error(err)
	}
	return strings.TrimSpace(string(out))
}

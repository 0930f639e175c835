//go:build linux && (amd64 || arm64)

package interpose

import (
	"bufio"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/need"
)

// If the program dies between the check of a notification and the write of its results, and
// another process gets its number, that process's memory is not written to.
func TestResultsAreNotWrittenToAnotherProcess(t *testing.T) {
	need.Root(t, "give a process a number")
	bin := needWindow(t)
	var h heir
	var once sync.Once
	testHookWrite = func(tid int) { once.Do(func() { h.inherit(t, bin, tid) }) }
	defer func() { testHookWrite = nil }()
	o := run(t, newWorld(t, here).config(bin, "program"))
	if h.cmd == nil {
		t.Fatalf("nothing was written: %v, %s", o.err, o.stdout)
	}
	if o.Signal != unix.SIGKILL {
		t.Errorf("the program ended with signal %v, exit code %d: %s", o.Signal, o.ExitCode, o.stdout)
	}
	if verdict := h.end(); verdict != "untouched" {
		t.Errorf("the memory of the process that got the number: %s", verdict)
	}
}

// needWindow compiles testdata/window.c.
func needWindow(t *testing.T) string {
	t.Helper()
	needStory(t) // a C compiler
	bin := filepath.Join(storyDir, "window")
	if out, err := exec.Command("cc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", bin, "testdata/window.c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

// heir is a process that starts another one, with a number that was a program's.
type heir struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// inherit kills the program, and starts another process with its number.
func (h *heir) inherit(t *testing.T, bin string, pid int) {
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(bound); unix.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("the program does not die")
			return
		}
	}
	h.cmd = exec.Command(bin, "heir", strconv.Itoa(pid))
	in, err := h.cmd.StdinPipe()
	if err != nil {
		t.Error(err)
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Error(err)
	}
	h.in, h.out = in, bufio.NewScanner(out)
	if err := h.cmd.Start(); err != nil {
		t.Error(err)
	}
	if h.out.Scan(); h.out.Text() != "number "+strconv.Itoa(pid) {
		t.Errorf("%q: want a process with number %d", h.out.Text(), pid)
	}
}

// end returns that process's verdict on its memory.
func (h *heir) end() string {
	io.WriteString(h.in, "\n")
	h.in.Close()
	h.out.Scan()
	verdict := strings.TrimSpace(h.out.Text())
	h.cmd.Wait()
	return verdict
}

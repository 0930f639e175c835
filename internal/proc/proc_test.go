//go:build linux

package proc

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

func TestChildren(t *testing.T) {
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	self, pid := os.Getpid(), cmd.Process.Pid
	if !slices.Contains(Children(self), pid) || !slices.Contains(childrenByScan(self), pid) {
		t.Errorf("%d is not found: %v, %v", pid, Children(self), childrenByScan(self))
	}
	if ended := Children(1 << 30); len(ended) > 0 {
		t.Errorf("no process has the children %v", ended)
	}
}

func TestReadFile(t *testing.T) {
	if b, err := ReadFile("/proc/self/stat"); err != nil || string(b[:len(strconv.Itoa(os.Getpid()))]) != strconv.Itoa(os.Getpid()) {
		t.Errorf("%q, %v", b, err)
	}
	long, err := ReadFile("/proc/self/smaps") // longer than the first read
	if want, failed := os.ReadFile("/proc/self/smaps"); err != nil || failed != nil || len(long) < 4096 || len(long) < len(want)/2 {
		t.Errorf("%d bytes, %v: os.ReadFile reads %d, %v", len(long), err, len(want), failed)
	}
	if b, err := ReadFile("/proc/none"); err != syscall.ENOENT {
		t.Errorf("%q, %v", b, err)
	}
	if n, err := Numbers("/proc/none"); err != syscall.ENOENT {
		t.Errorf("%v, %v", n, err)
	}
}

//go:build linux

package procfs

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// child starts a process that waits until the test ends.
func child(t *testing.T, name string, args ...string) int {
	t.Helper()
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

func TestProcessesOfThisOne(t *testing.T) {
	self, pid := os.Getpid(), child(t, "sleep", "100")
	if !slices.Contains(Descendants(self), pid) {
		t.Errorf("%d is not found: %v", pid, Descendants(self))
	}
	if Parent(pid) != self || ThreadGroup(pid) != pid || !IsTask(pid, pid) || !HasMemory(pid) {
		t.Errorf("parent %d, thread group %d, task %v, memory %v", Parent(pid), ThreadGroup(pid), IsTask(pid, pid), HasMemory(pid))
	}
	if exe, err := Executable(self); err != nil || exe == "" {
		t.Errorf("%q, %v", exe, err)
	}
	if s := Signals(pid); s.Thread || s.Process || s.Threads != 1 {
		t.Errorf("%+v", s)
	}
	if ids, ok := IDsOf(pid); !ok || ids != Own() {
		t.Errorf("%+v, %v", ids, ok)
	}
}

func TestAProcessThatHasEndedHasNothing(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if ThreadGroup(pid) != 0 || HasMemory(pid) || len(Tasks(pid)) > 0 || IsOpen(pid, 0) {
		t.Errorf("thread group %d, memory %v, threads %v", ThreadGroup(pid), HasMemory(pid), Tasks(pid))
	}
}

func TestDescriptors(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	self, fd := os.Getpid(), int32(pair[0])
	if all, err := Descriptors(self); err != nil || !slices.Contains(all, pair[0]) || !IsOpen(self, fd) {
		t.Errorf("%v, %v", all, err)
	}
	f, err := FileOf(pair[0])
	if err != nil {
		t.Fatal(err)
	}
	link, err := Link(self, fd)
	if inode, ok := SocketInode(link); err != nil || !ok || inode != f.Inode {
		t.Errorf("%q is inode %d, %v, %v: want %d", link, inode, ok, err, f.Inode)
	}
	if at, err := FileAt(self, fd); err != nil || at != f {
		t.Errorf("%+v, %v: want %+v", at, err, f)
	}
	const want = unix.O_CLOEXEC | unix.O_NONBLOCK
	if flags, err := DescriptorFlags(self, fd); err != nil || flags&want != want {
		t.Errorf("flags %#x, %v", flags, err)
	}
	if dup, err := Duplicate(self, fd); !Denied(err) {
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(dup)
		if g, _ := FileOf(dup); g != f {
			t.Errorf("the duplicate is %+v, want %+v", g, f)
		}
	}
}

func TestMappings(t *testing.T) {
	fd, err := unix.MemfdCreate("rxring-test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 4096); err != nil {
		t.Fatal(err)
	}
	f, err := FileOf(fd)
	if err != nil {
		t.Fatal(err)
	}
	mapped := func() (found bool) {
		for m := range Mappings(os.Getpid()) {
			found = found || m == f
		}
		return found
	}
	if mapped() {
		t.Error("mapped before mmap")
	}
	b, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	if !mapped() {
		t.Error("not mapped after mmap")
	}
}

func TestSocketInode(t *testing.T) {
	for link, want := range map[string]uint64{"socket:[17]": 17, "pipe:[17]": 0, "/socket:[17]": 0, "socket:[x]": 0, "": 0} {
		if got, ok := SocketInode(link); got != want || ok != (want != 0) {
			t.Errorf("%q: %d, %v", link, got, ok)
		}
	}
	if !strings.Contains(Name(os.Getpid()), "(process ") {
		t.Errorf("name %s", Name(os.Getpid()))
	}
}

package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/need"
)

// The test executes itself, and that process enters the sandbox and tries what is
// refused and what works there.
const (
	confined = "confined" // its first argument
	inHome   = "RXRING_TEST_HOME"
	asUser   = "RXRING_TEST_USER"
)

// underUnit has the names of the system calls that a service manager allows.
const underUnit = "RXRING_TEST_CALLS"

func TestMain(m *testing.M) {
	if names := os.Getenv(underUnit); names != "" {
		os.Unsetenv(underUnit)
		if err := allowOnly(names); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	if len(os.Args) == 2 && os.Args[1] == confined {
		if err := tryOut(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// allowOnly is what systemd makes of SystemCallFilter=.
func allowOnly(names string) error {
	a, err := arch.GetInfo("")
	if err != nil {
		return err
	}
	p := []bpf.Instruction{bpf.LoadAbsolute{Off: callAt, Size: 4}}
	for name := range strings.FieldsSeq(names) {
		if nr, ok := a.SyscallNames[name]; ok {
			p = append(p, ifEqual(uint32(nr), allow)...)
		}
	}
	return load(append(p, fail(unix.EPERM)))
}

// The unit's own filter leaves the daemon what it needs to enter the sandbox, and to run.
func TestTheSandboxUnderTheUnit(t *testing.T) {
	need.Time(t, "it starts the sandbox often")
	unit, err := os.ReadFile("../../../../dist/systemd/rxring.service")
	if err != nil {
		t.Fatal(err)
	}
	need.Program(t, "systemd-analyze")
	calls := make(map[string]bool)
	var add func(name string, allowed bool)
	add = func(name string, allowed bool) {
		if !strings.HasPrefix(name, "@") {
			calls[name] = allowed
			return
		}
		out, err := exec.Command("systemd-analyze", "syscall-filter", "--no-pager", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			if member := strings.TrimSpace(line); member != "" && member != name && !strings.HasPrefix(member, "#") {
				add(member, allowed)
			}
		}
	}
	for line := range strings.Lines(string(unit)) {
		if list, ok := strings.CutPrefix(strings.TrimSpace(line), "SystemCallFilter="); ok {
			list, denied := strings.CutPrefix(list, "~")
			for name := range strings.FieldsSeq(list) {
				add(name, !denied)
			}
		}
	}
	if !calls["read"] || calls["mount"] || calls["capset"] {
		t.Fatalf("%v", calls)
	}
	maps.DeleteFunc(calls, func(_ string, allowed bool) bool { return !allowed })
	t.Setenv(underUnit, strings.Join(slices.Collect(maps.Keys(calls)), " "))
	out := runConfined(t, newHome(t), "")
	for _, want := range []string{"read what is shown: works", "listen: works", "memory: works", "execute in place: EPERM", "Seccomp_filters:\t2"} {
		expect(t, out, want)
	}
	if landlockABI() > 0 {
		expect(t, out, "read what is not: EACCES")
	}
}

// tryOut runs before the sandbox, and again in it.
func tryOut() error {
	home := os.Getenv(inHome)
	state, in := Entered()
	if !in {
		c := Config{Read: []string{"/proc", "/etc", filepath.Join(home, "shown"), "/no/such/directory"}, MakeSockets: []string{filepath.Join(home, "sockets")}, Bind: []uint16{0}}
		if id := os.Getenv(asUser); id != "" {
			n, err := strconv.Atoi(id)
			if err != nil {
				return err
			}
			c.User = &User{UID: n, GID: n}
		}
		return Enter(c)
	}
	if err := FilterCalls(); err != nil {
		return err
	}
	fmt.Println("landlock", state.Landlock)
	say := func(what string, err error) {
		var errno syscall.Errno
		if err == nil {
			fmt.Println(what+":", "works")
		} else if errors.As(err, &errno) {
			fmt.Println(what+":", unix.ErrnoName(errno))
		} else {
			fmt.Println(what+":", err)
		}
	}
	files := func() {
		for what, path := range map[string]string{
			"read what is shown": filepath.Join(home, "shown", "file"), "read what is not": filepath.Join(home, "file"),
			"read hashes": "/etc/shadow", "read the memory of the parent": fmt.Sprintf("/proc/%d/mem", os.Getppid()),
		} {
			_, err := os.ReadFile(path)
			say(what, err)
		}
		say("write what is shown", os.WriteFile(filepath.Join(home, "shown", "file"), nil, 0o600))
	}
	files()
	_, err := user.Lookup("root")
	say("look up a name", err)
	l, err := net.Listen("unix", filepath.Join(home, "sockets", "s"))
	say("listen", err)
	if err == nil {
		say("take the socket away", l.Close())
	}
	_, err = net.Listen("tcp", "127.0.0.1:0")
	say("listen at any port", err)
	_, err = net.Listen("tcp", "127.0.0.1:47")
	say("listen at another port", err)
	say("execute", exec.Command("/bin/true").Run())
	_, _, errno := unix.RawSyscall(unix.SYS_EXECVE, 0, 0, 0)
	say("execute in place", errno)
	for what, call := range map[string][3]uintptr{
		"fork":            {unix.SYS_CLONE, uintptr(unix.SIGCHLD)},
		"fork, otherwise": {unix.SYS_CLONE3},
		"trace":           {unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getppid())},
		"signal":          {unix.SYS_KILL, uintptr(os.Getppid()), 0},
		"signal a thread": {unix.SYS_TGKILL, uintptr(os.Getppid()), uintptr(os.Getppid())},
		"load BPF":        {unix.SYS_BPF},
		"io_uring":        {unix.SYS_IO_URING_SETUP, 1},
		"mount":           {unix.SYS_MOUNT},
		"keys":            {unix.SYS_KEYCTL},
		"load a module":   {unix.SYS_FINIT_MODULE},
		"new namespace":   {unix.SYS_UNSHARE, unix.CLONE_NEWUSER},
		"other sockets":   {unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM},
		"MPTCP":           {unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM},
		"type":            {unix.SYS_IOCTL, 0, 0x5412},
		"type, widened":   {unix.SYS_IOCTL, 0, 1<<32 | 0x5412},
		"a future call":   {4095},
	} {
		third := uintptr(0)
		if what == "MPTCP" {
			third = unix.IPPROTO_MPTCP
		}
		if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], third); errno != 0 {
			say(what, errno)
		} else {
			say(what, nil)
		}
	}
	done := make(chan error) // a thread of its own is in the sandbox, too
	go func() {
		_, err := os.ReadFile(filepath.Join(home, "file"))
		done <- err
	}()
	say("read on another thread", <-done)
	say("memory", func() error {
		fd, err := unix.MemfdCreate("test", unix.MFD_ALLOW_SEALING)
		if err != nil {
			return err
		}
		return unix.Ftruncate(fd, 4096)
	}())
	status, err := os.ReadFile("/proc/self/status")
	os.Stdout.Write(status)
	return err
}

// TestTheSandbox: what a program can do in it, and what not.
func TestTheSandbox(t *testing.T) {
	if landlockABI() == 0 {
		t.Log("SKIPPED in part: the kernel has no Landlock")
	}
	users := []string{""}
	if os.Geteuid() == 0 {
		users = append(users, "65534")
	}
	for _, id := range users {
		t.Run("user "+id, func(t *testing.T) {
			home := newHome(t)
			out := runConfined(t, home, id)
			for _, want := range []string{
				"read what is shown: works", "look up a name: works", "listen: works", "take the socket away: works", "listen at any port: works", "memory: works",
				"execute: EPERM", "execute in place: EPERM", "fork: EPERM", "fork, otherwise: ENOSYS", "trace: EPERM", "signal: EPERM", "signal a thread: EPERM",
				"load BPF: ENOSYS", "io_uring: ENOSYS", "mount: ENOSYS", "keys: ENOSYS", "load a module: ENOSYS", "new namespace: ENOSYS",
				"other sockets: EAFNOSUPPORT", "MPTCP: EPROTONOSUPPORT", "type: EPERM", "type, widened: EPERM", "a future call: ENOSYS",
				"NoNewPrivs:\t1", "Seccomp:\t2",
			} {
				expect(t, out, want)
			}
			if landlockABI() > 0 {
				for _, want := range []string{"read what is not: EACCES", "write what is shown: EACCES", "read on another thread: EACCES", "read the memory of the parent: EACCES"} {
					expect(t, out, want)
				}
			}
			if landlockABI() >= 4 {
				expect(t, out, "listen at another port: EACCES")
			}
			if id != "" {
				for _, want := range []string{"read hashes: EACCES", "Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "Groups:\t \n"} {
					expect(t, out, want)
				}
				kept, err := permitted()
				if err != nil {
					t.Fatal(err)
				}
				for _, set := range []string{"CapPrm", "CapEff", "CapBnd", "CapAmb"} {
					expect(t, out, fmt.Sprintf("%s:\t%016x", set, uint64(kept&keptByUsers)))
				}
			}
		})
	}
}

// newHome is a directory that every user can use.
func newHome(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("", "sandbox") // t.TempDir's parent is not for others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	for _, dir := range []string{"", "shown", "sockets"} {
		os.Mkdir(filepath.Join(home, dir), 0o700)
		if err := os.Chmod(filepath.Join(home, dir), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"file", "shown/file"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

func runConfined(t *testing.T, home, id string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, confined)
	cmd.Env = append(os.Environ(), inHome+"="+home, asUser+"="+id)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	return out.String()
}

func expect(t *testing.T, out, want string) {
	t.Helper()
	if !strings.Contains("\n"+out, "\n"+want) {
		t.Errorf("want %q in\n%s", want, out)
	}
}

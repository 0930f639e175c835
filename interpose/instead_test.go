//go:build linux && (amd64 || arm64)

package interpose

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose/internal/seccomp"
)

// instead runs in place of the tests when the test binary is executed again, as a program
// that uses this package. It runs args and prints how they ended.
func instead(what string, args []string) int {
	if what == "links" {
		if err := links(); err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	}
	if calls, ok := strings.CutPrefix(what, "refused "); ok {
		calls, what, _ = strings.Cut(calls, " ")
		if err := refuse(strings.Split(calls, ",")); err != nil {
			fmt.Println(err)
			return 3
		}
	}
	p := here
	if at, ok := strings.CutPrefix(what, attached.host("")); ok {
		p, what = attached, at
	}
	w, stop, err := makeWorld(rxring.NamespaceConfig{}, p)
	if err != nil {
		fmt.Println(err)
		return 3
	}
	defer stop()
	if what == "ip" {
		w.show(needle)
	}
	cfg := w.config(args...)
	cfg.Logger = testLogger(os.Stdout, "log: ")
	cfg.KeepUser = what == "keep-user"
	res, err := Run(context.Background(), cfg)
	switch {
	case err != nil:
		fmt.Printf("error: %v\n", err)
		return 4
	case res.Signal != 0:
		fmt.Printf("killed: %v\n", res.Signal)
		return 5
	}
	for _, s := range res.Sockets {
		fmt.Printf("socket: %v\n", s)
	}
	return res.ExitCode
}

// refuse makes the kernel refuse calls to this process and to those that it starts, as an
// old kernel or a container's seccomp profile does.
func refuse(calls []string) error {
	numbers := map[string]uint32{
		"seccomp": unix.SYS_SECCOMP, "memfd_create": unix.SYS_MEMFD_CREATE, "pidfd_getfd": unix.SYS_PIDFD_GETFD,
		"process_vm_readv": unix.SYS_PROCESS_VM_READV, "process_vm_writev": unix.SYS_PROCESS_VM_WRITEV,
	}
	var rules []seccomp.Rule
	for _, name := range calls {
		nr, ok := numbers[name]
		if !ok {
			return fmt.Errorf("no call %q to refuse", name)
		}
		rules = append(rules, seccomp.Rule{NR: nr, Name: name, Action: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)})
	}
	prog, err := seccomp.Assemble(rules)
	if err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return errno
	}
	return nil
}

// host is the test binary as a program of its own.
type host struct {
	cmd   *exec.Cmd
	out   *os.File
	lines chan string
	all   strings.Builder
}

var testBinary = sync.OnceValues(func() (string, error) {
	// A copy that every user may execute.
	if _, err := story(); err != nil {
		return "", err
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer self.Close()
	path := filepath.Join(storyDir, "host")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(f, self); err != nil {
		f.Close()
		return "", err
	}
	return path, f.Close()
})

// host is startHost's what for a namespace in the place p.
func (p place) host(what string) string {
	if p == here {
		return what
	}
	return string(p) + " " + what
}

// startHost runs args under a host of their own, in a process group of its own, as the
// user uid. After "container " the host has the capabilities of a container's root, and
// "ignoring SIGNAL" ignores the signal.
func startHost(t *testing.T, what string, uid uint32, args ...string) *host {
	t.Helper()
	needStory(t)
	bin, err := testBinary()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	h := &host{cmd: exec.Command(bin, args...), out: r, lines: make(chan string, 1000)}
	if sig, ok := strings.CutPrefix(what, "ignoring "); ok {
		h.cmd = exec.Command("sh", append([]string{"-c", `trap "" ` + sig + `; exec "$0" "$@"`, bin}, args...)...)
	}
	if rest, ok := strings.CutPrefix(what, "container "); ok {
		what = rest
		h.cmd = exec.Command("setpriv", append([]string{"--bounding-set=-sys_ptrace,-net_raw,-sys_admin,-net_admin,-dac_read_search", "--inh-caps=-all", bin}, args...)...)
	}
	h.cmd.Env = append(os.Environ(), "RXRING_TEST_INSTEAD="+what)
	h.cmd.Dir = storyDir
	h.cmd.Stdout, h.cmd.Stderr = w, w
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if int(uid) != os.Getuid() {
		h.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		defer close(h.lines)
		buf, seen := make([]byte, 4096), 0
		for {
			n, err := r.Read(buf)
			h.all.Write(buf[:n])
			for {
				l, _, ok := strings.Cut(h.all.String()[seen:], "\n")
				if !ok {
					break
				}
				seen += len(l) + 1
				h.lines <- l
			}
			if err != nil {
				return
			}
		}
	}()
	return h
}

// await reads lines until one contains text.
func (h *host) await(t *testing.T, text string) {
	t.Helper()
	for l := range h.lines {
		if strings.Contains(l, text) {
			return
		}
	}
	t.Fatalf("no line with %q in:\n%s", text, h.all.String())
}

// wait returns once the host and all its descendants have closed the output.
func (h *host) wait() (output string, code int) {
	for range h.lines {
	}
	h.cmd.Wait()
	h.out.Close()
	return h.all.String(), h.cmd.ProcessState.ExitCode()
}

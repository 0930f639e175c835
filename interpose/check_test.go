//go:build linux && (amd64 || arm64)

package interpose

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rxring/rxring/internal/need"
	"github.com/rxring/rxring/interpose/internal/launcher"
)

// An error names what the system lacks, and a remedy, before the program runs.
func TestErrorsNameWhatTheSystemLacks(t *testing.T) {
	need.Time(t, "it runs many programs")
	for call, want := range map[string]string{
		"seccomp":      "refuses seccomp user notification (Linux 5.0 and later have it): operation not permitted: in a container, allow seccomp in its seccomp profile",
		"memfd_create": "refuses memfd_create, which rings need for their memory: operation not permitted: allow it in the container's seccomp profile",
	} {
		out, code := startHost(t, "refused "+call+" run", uint32(os.Getuid()), "echo", "ran").wait()
		if code != 4 || strings.Contains(out, "ran\n") || !strings.Contains(out, want) {
			t.Errorf("without %s: exit code %d:\n%s\nwant %s", call, code, out, want)
		}
	}
	bin, err := testBinary()
	if err != nil {
		t.Fatal(err)
	}
	out, code := startHost(t, "run", uint32(os.Getuid()), bin, "true").wait()
	if code != 4 || !strings.Contains(out, "itself under seccomp user notification") || !strings.Contains(out, "start it outside") {
		t.Errorf("one in the other: exit code %d:\n%s", code, out)
	}
}

// A setuid program starts no program for its user, also if it is executed as a launcher.
func TestASetuidProgramIsRefused(t *testing.T) {
	need.Root(t, "own a program as another user")
	needStory(t)
	bin, err := testBinary()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	setuid := filepath.Join(storyDir, "setuid")
	if err := errors.Join(os.WriteFile(setuid, text, 0o755), os.Chown(setuid, nobody, nobody), os.Chmod(setuid, 0o755|os.ModeSetuid)); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(setuid)
	cmd := exec.Command(setuid, "echo", "ran")
	cmd.Env = append(os.Environ(), "RXRING_TEST_INSTEAD=run")
	out, _ := cmd.CombinedOutput()
	if strings.Contains(string(out), "ran\n") && !strings.Contains(string(out), "error") {
		need.Skip(t, need.System, "%s is mounted nosuid", storyDir)
	}
	if want := "has the rights of user 65534, and user 0 executed it: operation not permitted: want a program that is not setuid"; !strings.Contains(string(out), want) {
		t.Errorf("%s\nwant %s", out, want)
	}
	launched := exec.Cmd{Path: setuid, Args: []string{launcher.Name, "-test.run=^$"}}
	if out, err := launched.CombinedOutput(); err != nil || strings.Contains(string(out), launcher.Name+": ") {
		t.Errorf("it is a launcher: %v\n%s", err, out)
	}
}

func TestProcMustBeOurOwn(t *testing.T) {
	need.Time(t, "it starts containers")
	need.Root(t, "mount")
	need.Program(t, "unshare", "mount")
	needStory(t)
	bin, err := testBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ behaviour, script, want string }{
		{"none", `exec unshare --mount sh -c 'mount -t tmpfs none /proc && exec "$0" echo ran' "$0"`, "there is no /proc"},
		{"the host's", `exec unshare --mount --pid --fork -- "$0" echo ran`, "/proc belongs to another PID namespace"},
		{"another's", `exec unshare --mount sh -c '
			unshare --pid --fork sh -c "mount -t proc proc /proc; echo >$1; read end <$1" &
			read ready <$1; "$0" echo ran; code=$?
			echo >$1; wait; exit $code' "$0" "$1"`, "/proc belongs to a PID namespace that this process"},
	} {
		fifo := filepath.Join(t.TempDir(), "ready")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-c", c.script, bin, fifo)
		cmd.Env = append(os.Environ(), "RXRING_TEST_INSTEAD=run")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) || !strings.Contains(string(out), "mount -t proc proc /proc") || strings.Contains(string(out), "ran\n") {
			t.Errorf("%s: %v:\n%s\nwant %s", c.behaviour, err, out, c.want)
		}
	}
}

// Programs see no difference without process_vm_readv, process_vm_writev and pidfd_getfd,
// which some seccomp profiles deny.
func TestProgramsWithoutProcessVM(t *testing.T) {
	need.Time(t, "it runs many programs")
	const refused = "refused process_vm_readv,process_vm_writev,pidfd_getfd "
	for _, story := range []string{
		"ring net0 2/epoll", "ring net0 3/poll", "queue net0", "queue-threads net0", "receive quiet0", "inherit net0",
		"closed net0", "files quiet0", "netlink quiet0", "send wire0", "send-ring wire0 2", "mmap-race net0",
	} {
		t.Run(story, func(t *testing.T) {
			t.Parallel()
			out, code := startHost(t, refused+"run", uint32(os.Getuid()), append([]string{needStory(t)}, strings.Fields(story)...)...).wait()
			if code != 0 {
				t.Errorf("exit code %d:\n%s", code, out)
			}
		})
	}
}

func TestYamaMustAllowInspection(t *testing.T) {
	for _, c := range []struct {
		scope  string
		ptrace bool
		want   string
	}{
		{"", false, ""}, {"0", false, ""}, {"1", false, ""}, {"2", true, ""},
		{"2", false, "sysctl kernel.yama.ptrace_scope=1"}, {"3", true, "until the next boot"},
	} {
		err := checkYama(c.scope, c.ptrace)
		if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("scope %q, CAP_SYS_PTRACE %v: %v: want %q", c.scope, c.ptrace, err, c.want)
		}
	}
}

//go:build linux && (amd64 || arm64)

package interpose

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rxring/rxring/internal/need"
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

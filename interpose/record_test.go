//go:build linux && (amd64 || arm64)

package interpose

import (
	"strings"
	"testing"

	"github.com/rxring/rxring/internal/need"
)

func needContainerRoot(t *testing.T) {
	t.Helper()
	need.Root(t, "give root up")
	need.Program(t, "setpriv")
}

// Root without CAP_SYS_PTRACE, as in a container, may not inspect a program that has given up
// root. Programs that neither fork nor pass descriptors work all the same.
func TestProgramsGiveUpRootInContainers(t *testing.T) {
	need.Time(t, "it runs every program")
	needContainerRoot(t)
	// Where the namespace is does not matter to how memory is read and written.
	for p, all := range map[place][]string{
		here:     append(stories, "bounds quiet0", "errnos quiet0"),
		attached: {"ring net0 2/epoll", "queue-read net0", "edges wire0 0", "bounds quiet0", "errnos quiet0"},
	} {
		for _, args := range all {
			switch story, _, _ := strings.Cut(args, " "); story {
			case "inherit", "netlink", "closed", "send": // these fork, or pass a descriptor
				continue
			case "bystanders": // asks a pipe for a device: that it is no socket cannot be seen
				continue
			}
			t.Run(string(p)+"/"+args, func(t *testing.T) {
				t.Parallel()
				args := append([]string{"env", "STORY_GIVES_UP_ROOT=1", needStory(t)}, strings.Fields(args)...)
				out, code := startHost(t, "container "+p.host("run"), 0, args...).wait()
				if code != 0 {
					t.Errorf("exit code %d:\n%s", code, out)
				}
			})
		}
	}
}

// A child of such a program cannot be served: its calls fail, and a message says why.
func TestChildrenOfProgramsThatGaveUpRootFail(t *testing.T) {
	need.Time(t, "it runs many programs")
	needContainerRoot(t)
	inBothPlaces(t, func(t *testing.T, p place) {
		for _, story := range []string{"inherit net0", "send wire0"} {
			args := append([]string{"env", "STORY_GIVES_UP_ROOT=1", needStory(t)}, strings.Fields(story)...)
			out, code := startHost(t, "container "+p.host("run"), 0, args...).wait()
			if code == 0 || strings.Count(out, `"story" (process `) != 1 || !strings.Contains(out, "--keep-user") {
				t.Errorf("%s: exit code %d:\n%s", story, code, out)
			}
		}
	})
}

// A program that was executed after root was given up may be inspected by its own user,
// whose identity root can take.
func TestProgramExecutedAsAnotherUserInContainers(t *testing.T) {
	need.Time(t, "it runs many programs")
	needContainerRoot(t)
	for _, story := range []string{"ring net0 2/epoll", "queue net0", "inherit net0", "closed net0", "netlink quiet0", "errnos quiet0"} {
		t.Run(story, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", needStory(t)}, strings.Fields(story)...)
			out, code := startHost(t, "container run", 0, args...).wait()
			if code != 0 {
				t.Errorf("exit code %d:\n%s", code, out)
			}
		})
	}
}

// A child that runs as another user hides its parent while they share their memory.
func TestProgramThatSpawnsAsAnotherUserInContainers(t *testing.T) {
	needContainerRoot(t)
	out, code := startHost(t, "container run", 0, needStory(t), "spawn-as-another", "net0").wait()
	if code != 0 || strings.Contains(out, "log:") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

// With KeepUser programs stay root.
func TestKeepUser(t *testing.T) {
	need.Time(t, "it runs many programs")
	needContainerRoot(t)
	for _, story := range []string{"inherit net0", "send wire0", "bystanders quiet0", "netlink quiet0", "closed net0"} {
		t.Run(story, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"env", "STORY_GIVES_UP_ROOT=1", needStory(t)}, strings.Fields(story)...)
			out, code := startHost(t, "container keep-user", 0, args...).wait()
			if code != 0 {
				t.Errorf("exit code %d:\n%s", code, out)
			}
		})
	}
}

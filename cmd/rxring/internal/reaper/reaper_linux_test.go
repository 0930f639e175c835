package reaper

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/racetest"
)

const helperName = "reaper-helper"

func TestMain(m *testing.M) {
	racetest.NoExitSleep()
	Init()
	exitTime = 200 * time.Millisecond
	if os.Args[0] == helperName { // stands for rxring
		if _, err := Start(os.Args[1], os.Stdout, os.Stderr); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		select {}
	}
	os.Exit(m.Run())
}

// family is the processes that have a FIFO open, which they inherit.
type family struct {
	fifo  string
	ended chan error
}

func newFamily(t *testing.T) *family {
	f := &family{filepath.Join(t.TempDir(), "fifo"), make(chan error, 1)}
	if err := unix.Mkfifo(f.fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		r, err := os.Open(f.fifo)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		f.ended <- err
	}()
	return f
}

// await waits until all have ended.
func (f *family) await(t *testing.T) {
	t.Helper()
	select {
	case err := <-f.ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		holders, _ := exec.Command("sh", "-c", "ls -l /proc/[0-9]*/fd 2>/dev/null | grep "+f.fifo).CombinedOutput()
		t.Errorf("processes are left: %s", holders)
	}
}

// families are scripts that start processes and then print a line.
var families = map[string]string{
	"the shell":                      "echo begun; exec sleep 1000",
	"a pipeline":                     "echo begun; sleep 1000 | sleep 1000",
	"in the background":              "(sleep 1000 &); echo begun; sleep 1000",
	"after the shell":                "sleep 1000 & sleep 1000 & echo begun",
	"in a session of its own":        "setsid sleep 1000 & echo begun; wait",
	"forked twice":                   "(setsid sh -c 'sleep 1000 & echo begun' &); sleep 1000",
	"that ignores SIGTERM":           "trap '' TERM; echo begun; while :; do sleep 0.1; done",
	"a session that ignores SIGTERM": "setsid sh -c 'trap \"\" TERM HUP INT; (setsid sleep 1000 &); echo begun; while :; do sleep 0.1; done' & exit 3",
	"that forks and exits": `cat >"$0.fork" <<'END'
trap '' TERM; sleep 0.01; setsid sh "$0" & exit
END
sh "$0.fork" & echo begun`,
	"stopped": "sh -c 'kill -STOP $$' & sleep 1000 & echo begun; wait",
}

// script returns a script whose processes have the family's FIFO open.
func (f *family) script(script string) string {
	return fmt.Sprintf("exec 9>%s; %s", f.fifo, strings.ReplaceAll(script, "$0.fork", f.fifo+".fork"))
}

func begun(t *testing.T, out io.Reader) {
	t.Helper()
	if b := make([]byte, 6); true {
		if _, err := io.ReadFull(out, b); err != nil || string(b) != "begun\n" {
			t.Fatalf("%q, %v", b, err)
		}
	}
}

// Every process that the command has started ends with it.
func TestEnd(t *testing.T) {
	for name, script := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFamily(t)
			out, stdout, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			c, err := Start(f.script(script), stdout, os.Stderr)
			stdout.Close()
			if err != nil {
				t.Fatal(err)
			}
			begun(t, out)
			c.End()
			f.await(t)
			<-c.ended
		})
	}
}

// They end, too, when this process is killed.
func TestKilled(t *testing.T) {
	for name, script := range families {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFamily(t)
			helper := exec.Cmd{Path: "/proc/self/exe", Args: []string{helperName, f.script(script)}}
			out, err := helper.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := helper.Start(); err != nil {
				t.Fatal(err)
			}
			begun(t, out)
			helper.Process.Kill()
			f.await(t)
			helper.Wait()
		})
	}
}

// The shell's status is known as soon as it has exited, although processes are left.
func TestStatus(t *testing.T) {
	for script, want := range map[string]string{
		"exit 0":                            "<nil>",
		"exit 3":                            "exit status 3",
		"sleep 1000 & exit 4":               "exit status 4",
		"kill -KILL $$":                     "signal: killed",
		"kill -KILL $PPID; exec sleep 1000": "its supervisor, process ",
	} {
		c, err := Start(script, nil, os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		<-c.Exited()
		if got := fmt.Sprint(c.Err()); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", script, got, want)
		}
		c.End()
	}
}

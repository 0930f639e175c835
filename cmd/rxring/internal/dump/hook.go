package dump

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/rxring/rxring/internal/printable"
)

// hook runs a command for each file that is finished, for one after the other. The capture does
// not wait for it before it ends.
type hook struct {
	command string
	stderr  *os.File

	mu      sync.Mutex
	queue   []hookJob
	running bool
	ran     int
	failed  int
	wg      sync.WaitGroup
}

// hookJob is a file for which the command is to run, or that is to be removed.
type hookJob struct {
	name   string
	remove bool
}

// add queues a job, which is done after those before it.
func (h *hook) add(j hookJob) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue = append(h.queue, j)
	if !h.running {
		h.running = true
		h.wg.Go(h.runAll)
	}
}

func (h *hook) runAll() {
	for {
		j, ok := h.next()
		if !ok {
			return
		}
		var err error
		if j.remove {
			err = removeFile(j.name)
		} else {
			err = h.run(j.name)
		}
		if err != nil {
			fmt.Fprintf(printable.Writer(h.stderr), "rxring: -z %s: %s: %v\n", h.command, j.name, err)
			h.mu.Lock()
			h.failed++
			h.mu.Unlock()
		}
	}
}

func (h *hook) next() (j hookJob, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queue) == 0 {
		h.running = false
		return j, false
	}
	j, h.queue = h.queue[0], h.queue[1:]
	if !j.remove {
		h.ran++
	}
	return j, true
}

// run runs the command in a process group of its own, so that a terminal's Ctrl-C ends the
// capture and not the command.
func (h *hook) run(name string) error {
	if strings.HasPrefix(name, "-") {
		name = "./" + name // not an option
	}
	cmd := exec.Command("/bin/sh", "-c", h.command+` "$@"`, "sh", name)
	cmd.Stdout, cmd.Stderr = h.stderr, h.stderr
	setOwnGroup(cmd)
	return cmd.Run()
}

// wait returns once the command has run for all files, with an error if it has failed for some.
func (h *hook) wait() error {
	h.wg.Wait()
	if h.failed > 0 {
		return fmt.Errorf("-z %s: failed for %d of %d files", h.command, h.failed, h.ran)
	}
	return nil
}

package top

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rxring/rxring/attach"
)

// runner is the program that attaches for others, and link the name that its
// processes have which it started as /proc/self/exe: of those, a descendant is the
// reader, at most deepest generations down.
const (
	runner  = "rxring"
	link    = "exe"
	deepest = 3
)

// program is the name of the peer's program: of `rxring run`, that of the program
// it runs. "": it cannot be seen from here, or the process is not that user's (any
// more).
func program(p attach.Peer) string {
	dir := fmt.Sprintf("/proc/%d", p.PID)
	info, err := os.Stat(dir)
	if err != nil {
		return ""
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != p.UID && st.Uid != 0 { // root's: it may not be traced
		return ""
	}
	name := comm(dir)
	if name != runner {
		return name
	}
	if reader := descendant(dir, deepest); reader != "" {
		return reader
	}
	return name
}

// descendant is the name of a process that the one in dir runs, directly or through
// processes of its own.
func descendant(dir string, generations int) string {
	files, err := filepath.Glob(dir + "/task/*/children") // each thread has its own
	if err != nil || generations == 0 {
		return ""
	}
	for _, file := range files {
		list, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for _, child := range strings.Fields(string(list)) {
			name := comm("/proc/" + child)
			if name == runner || name == link {
				name = descendant("/proc/"+child, generations-1)
			}
			if name != "" {
				return name
			}
		}
	}
	return ""
}

func comm(dir string) string {
	name, err := os.ReadFile(dir + "/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(name), "\n")
}

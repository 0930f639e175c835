package top

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/rxring/rxring/attach"
)

// `rxring run` attaches in the place of the program that it runs: processes of the names
// runner and link, as which it starts itself (/proc/self/exe), are replaced by a descendant,
// at most deepest generations down.
const (
	runner  = "rxring"
	link    = "exe"
	deepest = 3
)

// program returns the name of the peer's program, or for `rxring run` of the program that
// it runs. It is "" if this process cannot see it, or the PID now belongs to another user.
func program(p attach.Peer) string {
	dir := fmt.Sprintf("/proc/%d", p.PID)
	info, err := os.Stat(dir)
	if err != nil {
		return ""
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != p.UID && st.Uid != 0 { // root's files: the process is not dumpable
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

// descendant returns the name of the first child, or further descendant, of the process
// in dir that is not rxring itself.
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

package sockfile

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/explain"
)

// maxLinks is how many symbolic links Linux follows in a path (MAXSYMLINKS).
const maxLinks = 40

// checkParents returns an error if a user other than root could replace a file in dir: another
// user owns dir or one of its parents, or may write to one that is not sticky.
func checkParents(dir string) error {
	path, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	at, rest := "/", strings.TrimPrefix(path, "/")
	if err := checkDir(at); err != nil {
		return err
	}
	for links := 0; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		next := filepath.Join(at, part) // part may be "..", of a link
		if err := checkDir(next); err != nil {
			return err
		}
		target, err := os.Readlink(next)
		if err != nil { // not a link: checkDir has checked that it exists
			at = next
			continue
		}
		if links++; links > maxLinks {
			return explain.Errorf(unix.ELOOP, "%s: more than %d symbolic links: want a path with fewer", dir, maxLinks)
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = strings.Trim(target+"/"+rest, "/")
	}
	return nil
}

// checkDir checks one directory, or the owner of a symbolic link.
func checkDir(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	const advice = "as root, want a directory that only root can change, such as /run"
	uid, mode := fi.Sys().(*syscall.Stat_t).Uid, fi.Mode()
	switch {
	case uid != 0 && !unmapped(uid):
		return explain.Errorf(unix.EPERM, "user %d owns %s, and could put another file in the socket's place: %s, or that user as the daemon's", uid, dir, advice)
	case mode.IsDir() && mode.Perm()&0o022 != 0 && mode&os.ModeSticky == 0:
		return explain.Errorf(unix.EPERM, "other users may write to %s (mode %04o), and could put another file in the socket's place: %s, or a sticky one (chmod +t)", dir, mode.Perm(), advice)
	}
	return nil
}

// overflowUID is what the kernel shows for users outside a user namespace
// (/proc/sys/kernel/overflowuid).
const overflowUID = 65534

// unmapped reports whether uid stands for a user outside this process's user namespace, as
// the owner of / may be.
func unmapped(uid uint32) bool {
	if uid != overflowUID {
		return false
	}
	ids, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(ids))
	const everybody = "4294967295"
	return err == nil && !(len(f) == 3 && f[0] == "0" && f[2] == everybody)
}

package attach

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/explain"
)

// maxPath is how long a socket's path can be: sizeof(sun_path) less its end
// (linux/un.h).
const maxPath = 107

// listenAt makes the socket in a directory of its own, where nobody else can
// connect to it before it has its mode, and moves it to path.
func listenAt(path string, permit func(string) error) (*net.UnixListener, error) {
	if err := free(path); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".rxring")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	d, err := os.Open(dir) // by its descriptor it has a short name
	if err != nil {
		return nil, err
	}
	defer d.Close()
	fresh := fmt.Sprintf("/proc/self/fd/%d/socket", d.Fd())
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: fresh, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it has another name by then
	err = os.Chmod(fresh, 0o600)
	if err == nil && permit != nil {
		err = permit(fresh)
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// free reports whether path can be bound: nothing is there, or a socket that no process
// listens at any more.
func free(path string) error {
	if len(path) > maxPath || path == "" || strings.HasPrefix(path, "@") {
		return explain.Errorf(unix.EINVAL, "want a path of 1 to %d bytes, not an abstract address", maxPath)
	}
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		dir := filepath.Dir(path)
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return explain.Errorf(err, "there is no directory %s: make it, or choose another path", dir)
		}
		return nil
	case err != nil:
		return err
	case fi.Mode().Type() != os.ModeSocket:
		return explain.Errorf(unix.EEXIST, "what is there is not a socket: remove it or choose another path")
	}
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	switch {
	case err == nil:
		c.Close()
	case errors.Is(err, unix.ECONNREFUSED):
		return nil
	}
	return explain.Errorf(unix.EADDRINUSE, "another process listens there already: end that process or choose another path")
}

// pathID says which file a path names.
func pathID(path string) (id [2]uint64, err error) {
	var st unix.Stat_t
	err = unix.Lstat(path, &st)
	return [2]uint64{st.Dev, st.Ino}, err
}

// removeOurs removes the socket at path if it is still the one that we made.
func removeOurs(path string, id [2]uint64) {
	if now, err := pathID(path); err == nil && now == id {
		os.Remove(path)
	}
}

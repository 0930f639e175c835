package sockfile

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

// maxPath is the greatest length of a socket's path: sizeof(sun_path) without the final NUL
// (linux/un.h).
const maxPath = 107

// File is the file of a socket on which this process listens.
type File struct {
	path   string
	socket *os.File // O_PATH: as long as it is open, no other file has its inode number
}

// Listen listens on a unix socket at path, of mode 0600. permit may change its mode, owner or
// group before another process can find it; nil: no change. Its argument is a symbolic link
// to the file, which os.Chmod and os.Chown follow. A socket file on which no process listens
// any more is replaced.
//
// As root, it refuses directories where other users could replace the socket.
func Listen(network, path string, permit func(name string) error) (*net.UnixListener, *File, error) {
	if err := Check(path); err != nil {
		return nil, nil, err
	}
	if err := checkUnused(network, path); err != nil {
		return nil, nil, err
	}
	temp, err := os.MkdirTemp(filepath.Dir(path), ".rxring")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(temp)
	dir, err := openOwn(temp)
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	fresh := named(dir) + "/socket" // short enough for sun_path
	l, err := net.ListenUnix(network, &net.UnixAddr{Name: fresh, Net: network})
	if err != nil {
		return nil, nil, err
	}
	l.SetUnlinkOnClose(false) // it is renamed
	f, err := publish(fresh, path, permit)
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return l, f, nil
}

// openOwn opens a directory that this process has made, and checks that it was not replaced.
func openOwn(path string) (*os.File, error) {
	dir, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(dir.Fd()), &st); err == nil && (st.Uid != uint32(os.Geteuid()) || st.Mode&0o077 != 0) {
		err = explain.Errorf(unix.EPERM, "%s: another process has replaced the directory that was just made: want a directory where only this user makes files", path)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// publish sets the permissions of the socket at fresh, and renames it to path.
func publish(fresh, path string, permit func(string) error) (*File, error) {
	socket, err := os.OpenFile(fresh, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	f := &File{path, socket}
	if err = os.Chmod(named(socket), 0o600); err == nil && permit != nil {
		err = permit(named(socket))
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		socket.Close()
		return nil, err
	}
	return f, nil
}

// named returns a path of an open file. chmod and chown of it change that file, although an
// O_PATH descriptor does not allow fchmod and fchown (proc_pid_fd(5)).
func named(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// Permit calls permit as Listen does. ESTALE: path names another file by now, and nothing is
// changed.
func (f *File) Permit(permit func(name string) error) error {
	if err := f.check(); err != nil {
		return err
	}
	return permit(named(f.socket))
}

// check returns an error unless path still names the socket.
func (f *File) check() error {
	var ours, now unix.Stat_t
	if err := unix.Fstat(int(f.socket.Fd()), &ours); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	err := unix.Lstat(f.path, &now)
	if err == nil && (now.Dev != ours.Dev || now.Ino != ours.Ino) {
		err = unix.ESTALE
	}
	if err != nil {
		return explain.Errorf(err, "%s is not the socket of this process any more: it was replaced or removed: want a directory that only this user may write to, and a restart", f.path)
	}
	return nil
}

// Close removes the socket, if path still names it.
func (f *File) Close() error {
	if f.check() == nil {
		os.Remove(f.path)
	}
	return f.socket.Close()
}

// Check returns the error of Listen at path, but does not notice whether another process
// listens there. It changes nothing and connects to nothing.
func Check(path string) error {
	if len(path) > maxPath || path == "" || strings.HasPrefix(path, "@") {
		return explain.Errorf(unix.EINVAL, "want a path of 1 to %d bytes, not an abstract address", maxPath)
	}
	dir := filepath.Dir(path)
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return explain.Errorf(err, "there is no directory %s: make it, or choose another path", dir)
		}
	case err != nil:
		return err
	case fi.Mode().Type() != os.ModeSocket:
		return explain.Errorf(unix.EEXIST, "what is there is not a socket: remove it or choose another path")
	}
	if os.Geteuid() == 0 {
		return checkParents(dir)
	}
	return nil
}

// checkUnused returns an error if a process listens at path.
func checkUnused(network, path string) error {
	c, err := net.DialUnix(network, nil, &net.UnixAddr{Name: path, Net: network})
	switch {
	case err == nil:
		c.Close()
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return nil
	}
	return explain.Errorf(unix.EADDRINUSE, "another process listens there already: end that process or choose another path")
}

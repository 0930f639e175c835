package attach

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
)

// publish offers ns as name, whatever the environment says.
func publish(ns *rxring.Namespace, name string) (*Server, error) {
	if !isPublishName(name) {
		return nil, explain.Errorf(syscall.EINVAL, "want 1 to %d letters, digits, '-' and '_'", maxPublishName)
	}
	dir, err := publishDir()
	if err != nil {
		return nil, err
	}
	if err := makePublishDir(dir); err != nil {
		return nil, err
	}
	removeStale(dir)
	return Listen(Published{Name: name, PID: os.Getpid()}.in(dir).Path, Config{Namespace: ns})
}

// makePublishDir makes the directory, unless it is there, and checks it.
func makePublishDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return checkPublishDir(dir)
}

// checkPublishDir checks that no other user can change what is in the directory.
func checkPublishDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || info.Mode().Perm()&0o077 != 0 || ok && st.Uid != uint32(os.Geteuid()) {
		return explain.Errorf(syscall.EPERM, "%s has mode %v: want a directory of user %d with mode 0700: change it, or remove it", dir, info.Mode(), os.Geteuid())
	}
	return nil
}

// removeStale removes the sockets of processes that have ended without Close.
func removeStale(dir string) {
	all, _ := listPublished(dir)
	for _, p := range all {
		if p.isStale() {
			os.Remove(p.Path)
		}
	}
}

// isStale reports whether no process has the PID and none listens at the socket: the PID can be
// one of another namespace.
func (p Published) isStale() bool {
	if !errors.Is(syscall.Kill(p.PID, 0), syscall.ESRCH) {
		return false
	}
	c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: p.Path, Net: "unixpacket"})
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

package attach

import (
	"errors"
	"net"
	"os"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/sockfile"
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
	if err := sockfile.MakePrivate(dir); err != nil {
		return nil, err
	}
	removeStale(dir)
	return Listen(Published{Name: name, PID: os.Getpid()}.in(dir).Path, Config{Namespace: ns})
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

// isStale reports whether the process that made the socket has ended. Its PID does not show
// that: it may be another process's by now, or one of another PID namespace. Connecting with
// another type of socket fails, without a connection for the process to accept: EPROTOTYPE, and
// ECONNREFUSED once no process has the socket (unix(7)).
func (p Published) isStale() bool {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: p.Path, Net: "unixgram"})
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

package serve

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/rxring/rxring/attach"
)

// listen offers c on the socket that systemd passes, or on one at config's path.
func listen(config *Config, c attach.Config) (srv *attach.Server, fromSystemd bool, err error) {
	l, err := systemdListener()
	if err != nil {
		return nil, false, err
	}
	if l != nil {
		srv, err = attach.NewServer(l, c)
		return srv, true, err
	}
	path, err := config.path()
	if err != nil {
		return nil, false, ConfigError{err}
	}
	c.SocketPerms = config.setSocketPerms
	srv, err = attach.Listen(path, c)
	return srv, false, err
}

// systemdListener returns the listening socket that systemd passes, nil if there is none.
func systemdListener() (*net.UnixListener, error) {
	files := activation.Files(true)
	if len(files) == 0 {
		return nil, nil
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	const want = "want one, of ListenSequentialPacket="
	if len(files) > 1 {
		return nil, fmt.Errorf("systemd passes %d sockets: %s", len(files), want)
	}
	l, err := net.FileListener(files[0])
	if err != nil {
		return nil, fmt.Errorf("systemd passes a descriptor that is not a listening socket (%w): %s", err, want)
	}
	u, ok := l.(*net.UnixListener)
	if !ok || u.Addr().Network() != "unixpacket" {
		l.Close()
		return nil, fmt.Errorf("systemd passes a socket of network %s: %s", l.Addr().Network(), want)
	}
	return u, nil
}

// setSocketPerms sets the group and mode of the socket's file. It is an
// attach.Config.SocketPerms.
func (c *Config) setSocketPerms(path string) error {
	if c.Group != nil {
		if err := os.Chown(path, -1, int(c.Group.ID)); err != nil {
			return fmt.Errorf("group = %v: %w: want a group that this process is in, or root", *c.Group, withoutPath(err))
		}
	}
	if err := os.Chmod(path, c.Mode); err != nil {
		return fmt.Errorf("mode: %w", withoutPath(err))
	}
	return nil
}

// withoutPath removes the path from err: the user may not know it.
func withoutPath(err error) error {
	if p := new(os.PathError); errors.As(err, &p) {
		return p.Err
	}
	return err
}

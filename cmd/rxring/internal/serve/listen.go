package serve

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/rxring/rxring/attach"
)

// listen offers what c says: at the socket that systemd hands over, or where config
// says.
func listen(config *Config, c attach.Config) (srv *attach.Server, handed bool, err error) {
	l, err := handedOver()
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

// handedOver is the socket that systemd listens at for this process, nil: none.
func handedOver() (*net.UnixListener, error) {
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
		return nil, fmt.Errorf("systemd hands over %d sockets: %s", len(files), want)
	}
	l, err := net.FileListener(files[0])
	if err != nil {
		return nil, fmt.Errorf("systemd hands over what is no listening socket (%w): %s", err, want)
	}
	u, ok := l.(*net.UnixListener)
	if !ok || u.Addr().Network() != "unixpacket" {
		l.Close()
		return nil, fmt.Errorf("systemd hands over a socket of network %s: %s", l.Addr().Network(), want)
	}
	return u, nil
}

// setSocketPerms gives the socket's file its group and mode: who may connect at all. path is a link
// to the file, of attach's.
func (c *Config) setSocketPerms(path string) error {
	if c.Group != nil {
		if err := os.Chown(path, -1, int(c.Group.ID)); err != nil {
			return fmt.Errorf("group = %v: %w: want a group that this process is in, or root", *c.Group, reason(err))
		}
	}
	if err := os.Chmod(path, c.Mode); err != nil {
		return fmt.Errorf("mode: %w", reason(err))
	}
	return nil
}

// reason is err without the path, which may be one that nobody has heard of.
func reason(err error) error {
	if p := new(os.PathError); errors.As(err, &p) {
		return p.Err
	}
	return err
}

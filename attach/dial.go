package attach

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
)

// Dial attaches to the namespace that a [Server] offers at path. Its error is an
// [fs.PathError] that says what to do, and unwraps to an errno: ENOENT, ECONNREFUSED
// (no process listens there), EPROTONOSUPPORT (another version of rxring does), EACCES
// (the server refuses this user).
//
// If the server is busy, Dial tries again until ctx ends: its backlog is full, or this
// user has too many processes attached or connects too often. The error then unwraps to
// EAGAIN and to ctx's.
func Dial(ctx context.Context, path string) (*Client, error) { return dial(ctx, path, path) }

// DialPublished is [Dial] for what [Find] finds by a name, which its errors name in place of
// the path.
func DialPublished(ctx context.Context, name string) (*Client, error) {
	p, err := Find(name)
	if err != nil {
		return nil, &fs.PathError{Op: "attach", Path: name, Err: err}
	}
	return dial(ctx, p.Path, name)
}

// dial is Dial, with the name for errors.
func dial(ctx context.Context, path, name string) (*Client, error) {
	var busy *busyError
	for wait := minRetry; ; wait = min(2*wait, maxRetry) {
		c := newClient(path, name)
		switch err := c.dial(ctx); {
		case err == nil:
			c.wg.Go(c.readEvents)
			return c, nil
		case errors.As(err, &busy):
		case ctx.Err() == nil || busy == nil:
			return nil, &fs.PathError{Op: "attach", Path: name, Err: err}
		}
		select {
		case <-ctx.Done():
			return nil, &fs.PathError{Op: "attach", Path: name, Err: explain.Errorf(ctx.Err(), "%w: no attempt succeeded: try again later", busy)}
		case <-time.After(wait/2 + rand.N(wait)): // clients spread out
		}
	}
}

func newClient(path, name string) *Client {
	return &Client{path: path, name: name, ns: rxring.NewNamespace(rxring.NamespaceConfig{}), done: make(chan struct{}), sockets: make(map[uint32]*Socket)}
}

// minRetry and maxRetry limit how long Dial waits before it tries again.
const (
	minRetry = 10 * time.Millisecond
	maxRetry = 500 * time.Millisecond
)

// busyError is the error of a server that is busy.
type busyError struct{ error }

func (e *busyError) Unwrap() error { return e.error }

// asBusy wraps EAGAIN in a busyError.
func asBusy(err error) error {
	if errors.Is(err, syscall.EAGAIN) {
		return &busyError{err}
	}
	return err
}

// dial makes one attempt. No other goroutine has c yet.
func (c *Client) dial(ctx context.Context) error {
	var d net.Dialer
	uc, err := d.DialContext(ctx, "unixpacket", c.path)
	if err != nil {
		return asBusy(c.connectError(err))
	}
	return c.begin(ctx, uc.(*net.UnixConn))
}

// begin is the first exchange on a connection, which it closes on an error. No other goroutine
// has c yet.
func (c *Client) begin(ctx context.Context, uc *net.UnixConn) error {
	c.conn = newConn(uc)
	c.conn.in = make([]byte, maxMessage)
	stop := context.AfterFunc(ctx, func() { uc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err := asBusy(c.helloLocked())
	if err == nil {
		err = c.followDevices()
	}
	if err == nil && !stop() { // from here on ctx does not end the connection
		err = ctx.Err()
	}
	if err == nil {
		c.conn.blocking, err = newBlockingConn(c.conn.UnixConn, ioTimeout)
	}
	if err != nil {
		uc.Close()
		if c.events != nil {
			c.events.Close()
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
	}
	return err
}

// helloLocked is the first exchange. Nothing but dial may use c.
func (c *Client) helloLocked() error {
	m, fd, err := c.roundTripLocked(opHello, 0, -1, func(m *message) {
		m.bytes([]byte(magic))
		m.u32(version)
	})
	if err != nil {
		return err
	}
	if v := m.word(); v != version || !m.end() {
		closeFD(fd)
		return explain.Errorf(syscall.EPROTONOSUPPORT, "it speaks version %d of the protocol, this process speaks version %d: use the same rxring at both ends", v, version)
	}
	if fd < 0 {
		return errMessage
	}
	f := os.NewFile(uintptr(fd), "events")
	defer f.Close()
	if server, err := peerCredentials(int(f.Fd())); err == nil { // of the process that made the pair, also if systemd listens
		c.pid = server.PID
	}
	if c.events, err = unixConn(f); err != nil {
		return err
	}
	c.rawEvents, err = c.events.SyscallConn()
	return err
}

// connectError says what to do about a failed connect.
func (c *Client) connectError(err error) error {
	cause := err
	if op := new(net.OpError); errors.As(err, &op) {
		cause = op.Err
	}
	switch {
	case c.name != c.path && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)):
		return explain.Errorf(cause, "the process that published it has ended: `rxring ps` lists what there is")
	case errors.Is(err, fs.ErrNotExist):
		return explain.Errorf(cause, "there is no such socket: start `rxring serve --at %s`, or name another socket", c.path)
	case errors.Is(err, syscall.ECONNREFUSED) && !isSocket(c.path), errors.Is(err, syscall.ENOTSOCK):
		return explain.Errorf(cause, "it is not a socket: name the one where `rxring serve` or package attach listens")
	case errors.Is(err, syscall.ECONNREFUSED):
		return explain.Errorf(cause, "no process listens there any more: restart the one that did, such as `rxring serve`")
	case errors.Is(err, fs.ErrPermission):
		return explain.Errorf(cause, "this user may not connect: ask the socket's owner to change its mode or group")
	case errors.Is(err, syscall.EPROTOTYPE):
		return explain.Errorf(cause, "it is not rxring's socket: name the one where `rxring serve` or package attach listens")
	case errors.Is(err, syscall.EAGAIN):
		return explain.Errorf(cause, "too many processes are connecting")
	}
	return cause
}

// isSocket reports whether there is a socket file at path. An abstract address has no file.
func isSocket(path string) bool {
	info, err := os.Stat(path)
	return err != nil || info.Mode()&fs.ModeSocket != 0
}

package attach

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/tpacket"
)

// Client is attached to another process's namespace. Its methods may be called
// concurrently.
type Client struct {
	path      string
	name      string // in errors: the path, or a published name
	pid       int    // of the server's process; 0: not known
	ns        *rxring.Namespace
	events    *net.UnixConn
	rawEvents syscall.RawConn // of events
	wg        sync.WaitGroup  // readEvents
	done      chan struct{}

	followMu sync.Mutex // held by followDevices: changes are shown in order; acquired before the others
	follows  bool       // the last list was read; guarded by followMu

	listMu sync.Mutex // held while a list is read, chunk by chunk

	nsMu  sync.Mutex // held while ns is changed
	ended bool       // ns has no devices any more; guarded by nsMu

	reqMu   sync.Mutex // held for a request and its answer; guards the fields below
	conn    *conn
	request message
	seq     uint32

	mu      sync.Mutex // guards the fields below
	err     error      // why the connection has ended
	sockets map[uint32]*Socket
}

// errDetached is the error of calls after the connection has ended: to a program, the
// device is down.
var errDetached = explain.Errorf(syscall.ENETDOWN, "attach: the connection has ended")

// followDevices requests what has changed of the devices, the first time all, and shows it in
// ns.
func (c *Client) followDevices() error {
	c.followMu.Lock()
	defer c.followMu.Unlock()
	var list deviceList
	c.listMu.Lock()
	err := c.readListLocked(opDevices, &list, func(m *message) { m.flag(!c.follows) })
	c.listMu.Unlock()
	if c.follows = err == nil; err != nil {
		return err
	}
	c.nsMu.Lock()
	defer c.nsMu.Unlock()
	if c.ended {
		return nil
	}
	return list.show(c.ns)
}

// wakesFor returns how many wake-ups the socket of a ring of g's shape asks for at once. Writers
// wake the reader of a V1 or V2 ring for each packet: there it is one.
func (c *Client) wakesFor(g tpacket.Geometry) int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.Version != tpacket.V3 || len(c.sockets) > manyWakes {
		return 1
	}
	return maxWakes
}

// readEvent waits for an event. n is 0 at the end of the connection.
func (c *Client) readEvent(b []byte) (n int, err error) {
	err2 := c.rawEvents.Read(func(fd uintptr) bool {
		n, err = receiveEvent(int(fd), b)
		return !wouldBlock(err)
	})
	return n, errors.Join(err, err2)
}

// readEvents handles events until the connection ends.
func (c *Client) readEvents() {
	var b [eventLen]byte
	for {
		n, err := c.readEvent(b[:])
		if err != nil || n == 0 {
			c.end(errOtherEndClosed)
			return
		}
		if n != eventLen {
			continue
		}
		switch op(binary.NativeEndian.Uint16(b[:])) {
		case evWake:
			c.mu.Lock()
			s := c.sockets[binary.NativeEndian.Uint32(b[4:])]
			c.mu.Unlock()
			if s != nil {
				s.woken(binary.NativeEndian.Uint16(b[2:]))
			}
		case evDevices:
			if err := c.followDevices(); err != nil && !errors.Is(err, errDetached) {
				c.end(err)
				return
			}
		case evRevoked:
			c.end(explain.Errorf(syscall.EACCES, "the server's rules have changed, and this user may not read any more: ask its owner"))
			return
		}
	}
}

// end ends the connection for the reason err. It removes the devices and wakes sleeping
// readers, whose sockets have an error now.
func (c *Client) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = &fs.PathError{Op: "attach", Path: c.name, Err: err}
	left := slices.Collect(maps.Values(c.sockets))
	c.mu.Unlock()
	c.conn.hangUp()
	c.events.Close()
	c.nsMu.Lock()
	c.ended = true
	(&deviceList{All: true}).show(c.ns)
	c.nsMu.Unlock()
	for _, s := range left {
		s.setDown()
	}
	close(c.done)
}

// Namespace returns a namespace with the devices that this process may see: their names,
// indexes, addresses and state follow those of the other process. Its devices deliver no
// packets: read them from the sockets of Client.Socket.
func (c *Client) Namespace() *rxring.Namespace { return c.ns }

// Status returns a snapshot of the other process's namespace, as far as this process may
// see it.
func (c *Client) Status() (st Status, err error) {
	c.listMu.Lock()
	defer c.listMu.Unlock()
	err = c.readListLocked(opStatus, &st, func(*message) {})
	return st, err
}

// PID returns the ID of the process that offers the namespace, as the kernel identifies it. 0:
// this process's PID namespace does not have it.
func (c *Client) PID() int { return c.pid }

// Done returns a channel that is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the connection has ended, nil while it has not. The error is an
// [fs.PathError]: EACCES if the grant was revoked, [os.ErrClosed] after Close.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// errClientClosed is in Err after Close.
var errClientClosed = explain.Errorf(os.ErrClosed, "closed by this process")

// Close ends the connection and closes its sockets.
func (c *Client) Close() error {
	c.end(errClientClosed)
	c.wg.Wait()
	c.mu.Lock()
	left := slices.Collect(maps.Values(c.sockets))
	c.mu.Unlock()
	for _, s := range left {
		s.Close()
	}
	c.reqMu.Lock()
	c.conn.blocking.free()
	c.reqMu.Unlock()
	return nil
}

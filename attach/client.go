package attach

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
)

// Client is attached to another process's namespace. All methods may be called
// concurrently.
type Client struct {
	path   string
	ns     *rxring.Namespace
	events *net.UnixConn
	all    sync.WaitGroup // the goroutine that reads events
	done   chan struct{}

	lists   sync.Mutex // held for all the pieces of one
	asked   uint64     // lists of devices; guarded by lists
	showing sync.Mutex // held while ns is changed
	shown   uint64     // which list of devices ns shows; guarded by showing

	turn    sync.Mutex // held for a request and its answer
	conn    *conn
	request message
	seq     uint32

	mu      sync.Mutex
	err     error // why it has ended
	sockets map[uint32]*Socket
}

// errDetached is what calls on a connection that has ended return. To a program
// the device is down.
var errDetached = explain.Errorf(syscall.ENETDOWN, "attach: the connection has ended")

// Dial attaches to the namespace that is offered at path. The error names path
// and says what to do: nobody listens there, another version does, or its owner
// refuses this user.
//
// A server that is busy is tried again until ctx ends: its backlog is full, or this user
// has too many processes attached, or connects too often. The error then unwraps to EAGAIN
// and to ctx's.
func Dial(ctx context.Context, path string) (*Client, error) {
	var busy *busyError
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		c := &Client{path: path, ns: rxring.NewNamespace(rxring.NamespaceConfig{}), done: make(chan struct{}), sockets: make(map[uint32]*Socket)}
		switch err := c.dial(ctx); {
		case err == nil:
			c.all.Go(c.listen)
			return c, nil
		case errors.As(err, &busy):
		case ctx.Err() == nil || busy == nil:
			return nil, fmt.Errorf("attach: %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return nil, explain.Errorf(ctx.Err(), "attach: %s: %w: tried again, in vain: try later", path, busy)
		case <-time.After(wait/2 + rand.N(wait)): // not all at the same time
		}
	}
}

// busyError is an error of a server that is to be tried again.
type busyError struct{ error }

func (e *busyError) Unwrap() error { return e.error }

// asBusy makes EAGAIN a busyError.
func asBusy(err error) error {
	if errors.Is(err, syscall.EAGAIN) {
		return &busyError{err}
	}
	return err
}

// retryFirst and retryMost bound how long Dial waits before it tries again.
const (
	retryFirst = 10 * time.Millisecond
	retryMost  = 500 * time.Millisecond
)

func (c *Client) dial(ctx context.Context) error {
	var d net.Dialer
	uc, err := d.DialContext(ctx, "unixpacket", c.path)
	if err != nil {
		return asBusy(c.explain(err))
	}
	c.conn = newConn(uc.(*net.UnixConn))
	c.conn.in = make([]byte, maxMessage)
	stop := context.AfterFunc(ctx, func() { uc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err = asBusy(c.hello()); err == nil {
		err = c.followDevices()
	}
	if err == nil && !stop() { // from here on ctx does not end it any more
		err = ctx.Err()
	}
	if err == nil {
		c.conn.direct, err = newDirect(c.conn.UnixConn, patience)
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

// explain says what to do about a connection that could not be made.
func (c *Client) explain(err error) error {
	cause := err
	if op := new(net.OpError); errors.As(err, &op) {
		cause = op.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return explain.Errorf(cause, "there is no such socket: start `rxring serve --at %s`, or name the one that is there", c.path)
	case errors.Is(err, syscall.ECONNREFUSED) && !isSocket(c.path):
		return explain.Errorf(cause, "it is not a socket: name the one that `rxring serve` or package attach listens at")
	case errors.Is(err, syscall.ECONNREFUSED):
		return explain.Errorf(cause, "nothing listens there any more: start again what offered it, such as `rxring serve`")
	case errors.Is(err, fs.ErrPermission):
		return explain.Errorf(cause, "this user may not connect: ask its owner to grant it (the socket's mode and group)")
	case errors.Is(err, syscall.EPROTOTYPE), errors.Is(err, syscall.ENOTSOCK):
		return explain.Errorf(cause, "it is not a socket of rxring's: name the one that `rxring serve` or package attach listens at")
	case errors.Is(err, syscall.EAGAIN):
		return explain.Errorf(cause, "too many processes are connecting")
	}
	return cause
}

// isSocket reports whether there is a socket at path, of whatever kind. A name in the
// abstract namespace has no file.
func isSocket(path string) bool {
	info, err := os.Stat(path)
	return err != nil || info.Mode()&fs.ModeSocket != 0
}

func (c *Client) hello() error {
	m, fd, err := c.roundTrip(opHello, 0, -1, func(m *message) {
		m.bytes([]byte(magic))
		m.u32(version)
	})
	if err != nil {
		return err
	}
	if v := m.word(); v != version || !m.end() {
		closeFD(fd)
		return explain.Errorf(syscall.EPROTONOSUPPORT, "it speaks version %d of the protocol, this is version %d: use the same rxring at both ends", v, version)
	}
	if fd < 0 {
		return errMessage
	}
	f := os.NewFile(uintptr(fd), "events")
	defer f.Close()
	c.events, err = unixConn(f)
	return err
}

// roundTrip makes a request and waits for the answer, whose words are good until
// c.turn is given back: so either it is held by the caller, or nobody else has c
// yet. A descriptor goes with the request unless it is negative.
func (c *Client) roundTrip(o op, socket uint32, with int, arguments func(*message)) (m message, fd int, err error) {
	c.seq++
	c.request.start(o, socket, c.seq)
	if arguments != nil {
		arguments(&c.request)
	}
	if c.conn.direct == nil {
		c.conn.SetDeadline(time.Now().Add(patience))
	}
	fd = -1
	err = c.conn.send(&c.request, with)
	if err == nil || o == opHello && disconnected(err) {
		m, fd, err = c.conn.recv()
	}
	if o == opHello && disconnected(err) { // which is reported once, before what there is to read
		m, fd, err = c.conn.recv()
	}
	if err != nil {
		return m, fd, explain.Errorf(syscall.ENETDOWN, "%w", gone(err))
	}
	got, no, seq := m.head()
	if m.bad || got != o || seq != c.seq {
		closeFD(fd)
		return m, -1, errMessage
	}
	if no != 0 {
		closeFD(fd)
		return m, -1, remote(syscall.Errno(no), m.rest())
	}
	return m, fd, nil
}

// call is roundTrip for everybody. Results reads the answer.
func (c *Client) call(o op, socket uint32, arguments func(*message), results func(*message)) error {
	return c.callWith(-1, o, socket, arguments, results)
}

// callWith is call with a descriptor.
func (c *Client) callWith(with int, o op, socket uint32, arguments func(*message), results func(*message)) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	if c.Err() != nil {
		return errDetached
	}
	m, fd, err := c.roundTrip(o, socket, with, arguments)
	if remote := new(remoteError); errors.As(err, &remote) {
		return err
	}
	if err == nil {
		if results != nil {
			results(&m)
		}
		closeFD(fd) // only hello's answer has one
		if m.end() {
			return nil
		}
		err = errMessage
	}
	if errors.Is(err, syscall.EMSGSIZE) {
		return err // nothing was sent
	}
	c.end(err)
	return errDetached
}

// maxList is more than the sockets of all users make, in bytes.
const maxList = 64 << 20

// list asks for something that comes as JSON in pieces.
func (c *Client) list(o op, v any) error {
	c.lists.Lock()
	defer c.lists.Unlock()
	return c.listLocked(o, v)
}

func (c *Client) listLocked(o op, v any) error {
	var all []byte
	for size := 1; len(all) < size; {
		var got []byte
		err := c.call(o, 0, func(m *message) { m.u32(uint32(len(all))) }, func(m *message) {
			size = int(m.word())
			got = append(got, m.rest()...)
		})
		switch {
		case err != nil:
			return err
		case len(got) == 0 || len(all)+len(got) > size || size > maxList:
			c.end(errMessage)
			return errDetached
		}
		all = append(all, got...)
	}
	return json.Unmarshal(all, v)
}

// followDevices asks for the devices and shows those, unless somebody else has shown
// newer ones meanwhile.
func (c *Client) followDevices() error {
	var list []device
	c.lists.Lock()
	c.asked++
	n := c.asked
	err := c.listLocked(opDevices, &list)
	c.lists.Unlock()
	if err != nil {
		return err
	}
	c.showing.Lock()
	defer c.showing.Unlock()
	if n < c.shown {
		return nil
	}
	c.shown = n
	return mirror(c.ns, list)
}

// listen reads events until the connection ends.
func (c *Client) listen() {
	var b [eventLen]byte
	for {
		n, err := c.events.Read(b[:])
		if err != nil || n == 0 {
			c.end(errors.New("the other end has gone"))
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
				s.notify.Wake()
			}
		case evDevices:
			if err := c.followDevices(); err != nil {
				c.end(err)
				return
			}
		case evRevoked:
			c.end(explain.Errorf(syscall.EACCES, "this user may not read any more: its rules have changed: ask who runs it"))
			return
		}
	}
}

// end ends the connection. Devices go away, and sleepers are woken: their sockets
// have an error now.
func (c *Client) end(why error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = fmt.Errorf("attach: %s: %w", c.path, why)
	var left []*Socket
	for _, s := range c.sockets {
		left = append(left, s)
	}
	c.mu.Unlock()
	c.conn.hangUp()
	c.events.Close()
	c.showing.Lock()
	c.shown = math.MaxUint64
	mirror(c.ns, nil)
	c.showing.Unlock()
	for _, s := range left {
		s.detached()
	}
	close(c.done)
}

// Namespace has the devices that are granted, as they are there: names, indexes,
// addresses, whether they are up; it follows what happens to them. No packets pass
// them here: sockets are had from Client.Socket.
func (c *Client) Namespace() *rxring.Namespace { return c.ns }

// Status is what happens in the other process's namespace.
func (c *Client) Status() (st Status, err error) {
	err = c.list(opStatus, &st)
	return st, err
}

// Done is closed when the connection has ended; Err says why then.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the connection has ended, nil while it has not.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// errClosedClient is Err after Close.
var errClosedClient = fmt.Errorf("closed by this end: %w", net.ErrClosed)

// Close ends the connection, and with it all sockets.
func (c *Client) Close() error {
	c.end(errClosedClient)
	c.all.Wait()
	c.mu.Lock()
	var left []*Socket
	for _, s := range c.sockets {
		left = append(left, s)
	}
	c.mu.Unlock()
	for _, s := range left {
		s.Close()
	}
	c.turn.Lock()
	c.conn.direct.free()
	c.turn.Unlock()
	return nil
}

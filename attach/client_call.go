package attach

import (
	"encoding/json"
	"errors"
	"syscall"
	"time"

	"github.com/rxring/rxring/internal/explain"
)

// roundTripLocked sends a request and receives its answer, which is valid until reqMu is
// unlocked. A descriptor goes with the request unless fd is negative.
func (c *Client) roundTripLocked(o op, socket uint32, fd int, arguments func(*message)) (m message, received int, err error) {
	c.seq++
	c.request.start(o, socket, c.seq)
	if arguments != nil {
		arguments(&c.request)
	}
	if c.conn.blocking == nil {
		c.conn.SetDeadline(time.Now().Add(ioTimeout))
	}
	received = -1
	err = c.conn.send(&c.request, fd)
	if err == nil || o == opHello && disconnected(err) {
		m, received, err = c.conn.recv()
	}
	if o == opHello && disconnected(err) { // reported once, before what is left to read
		m, received, err = c.conn.recv()
	}
	if err != nil {
		return m, received, explain.Errorf(syscall.ENETDOWN, "%w", connError(err))
	}
	got, errno, seq := m.head()
	if m.bad || got != o || seq != c.seq {
		closeFD(received)
		return m, -1, errMessage
	}
	if errno != 0 {
		closeFD(received)
		return m, -1, newRemoteError(syscall.Errno(errno), m.rest())
	}
	return m, received, nil
}

// call sends a request and has results read the answer. It returns the server's error, or
// errDetached if the connection has ended.
func (c *Client) call(o op, socket uint32, arguments, results func(*message)) error {
	return c.callWithFD(-1, o, socket, arguments, results)
}

// callWithFD is call with a descriptor.
func (c *Client) callWithFD(fd int, o op, socket uint32, arguments, results func(*message)) error {
	c.reqMu.Lock()
	defer c.reqMu.Unlock()
	if c.Err() != nil {
		return errDetached
	}
	m, received, err := c.roundTripLocked(o, socket, fd, arguments)
	if remote := new(remoteError); errors.As(err, &remote) {
		return err
	}
	if err == nil {
		if results != nil {
			results(&m)
		}
		closeFD(received) // only the answer to hello has one
		if m.end() {
			return nil
		}
		err = errMessage
	}
	if errors.Is(err, syscall.EMSGSIZE) {
		return err // nothing was sent
	}
	if errors.Is(err, errOtherEndClosed) {
		// readEvents ends the connection: the reason may be in an unread event.
		c.events.SetReadDeadline(time.Now().Add(time.Second))
		return errDetached
	}
	c.end(err)
	return errDetached
}

// send sends a request that has no answer.
func (c *Client) send(o op, socket, argument uint32) error {
	c.reqMu.Lock()
	defer c.reqMu.Unlock()
	if c.Err() != nil {
		return errDetached
	}
	c.seq++
	c.request.start(o, socket, c.seq)
	c.request.u32(argument)
	if c.conn.blocking == nil {
		c.conn.SetDeadline(time.Now().Add(ioTimeout))
	}
	return c.conn.send(&c.request, -1)
}

// maxList limits a list, in bytes. The sockets of all users are less.
const maxList = 64 << 20

// readListLocked reads a list, which is JSON, in chunks. args appends the request's arguments
// beside the offset.
func (c *Client) readListLocked(o op, v any, args func(*message)) error {
	var all []byte
	for size := 1; len(all) < size; {
		var chunk []byte
		err := c.call(o, 0, func(m *message) { m.u32(uint32(len(all))); args(m) }, func(m *message) {
			size = int(m.word())
			chunk = append(chunk, m.rest()...)
		})
		switch {
		case err != nil:
			return err
		case len(chunk) == 0 || len(all)+len(chunk) > size || size > maxList:
			c.end(errMessage)
			return errDetached
		}
		all = append(all, chunk...)
	}
	return json.Unmarshal(all, v)
}

package attach

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/rxring/rxring/internal/explain"
)

// conn is a connection of one kind of message at a time in each direction.
type conn struct {
	*net.UnixConn
	direct *direct // takes UnixConn's place, nil: not yet, or not here
	in     []byte  // of a client
	oob    []byte
}

func newConn(c *net.UnixConn) *conn {
	// As much as one message, whatever net.core.wmem_default is; it need not succeed.
	c.SetWriteBuffer(2 * maxMessage)
	return &conn{UnixConn: c, oob: make([]byte, oobRoomForOne)}
}

// send sends a message, with a descriptor unless it is negative.
func (c *conn) send(m *message, fd int) error {
	if len(m.b) > maxMessage {
		return explain.Errorf(syscall.EMSGSIZE, "attach: message of %d bytes: want at most %d", len(m.b), maxMessage)
	}
	var oob []byte
	if fd >= 0 {
		oob = rights(fd)
	}
	if c.direct != nil {
		return c.direct.write(m.b, oob)
	}
	_, _, err := c.WriteMsgUnix(m.b, oob, nil)
	return err
}

// recv reads a message, which is good until the next call, and a descriptor that
// came with it, -1 for none.
func (c *conn) recv() (m message, fd int, err error) {
	var n, oobn, flags int
	if c.direct != nil {
		n, oobn, flags, err = c.direct.read(c.in, c.oob)
	} else {
		n, oobn, flags, _, err = c.ReadMsgUnix(c.in, c.oob)
	}
	fd = takeOne(c.oob[:oobn])
	switch {
	case err != nil:
	case n == 0:
		err = io.EOF
	case truncated(flags):
		err = errMessage
	default:
		return message{b: c.in[:n]}, fd, nil
	}
	closeFD(fd)
	return message{}, -1, err
}

// hangUp ends the connection.
func (c *conn) hangUp() {
	if c.direct != nil {
		c.direct.hangUp()
	} else {
		c.Close()
	}
}

// patience is how long an end waits for the other one to do what it does in
// microseconds: to answer, to read an answer, to say hello. Tests change it.
var patience = 10 * time.Second

// disconnected reports whether err says that the other end has closed the connection.
// What it sent before can still be read.
func disconnected(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// gone turns an error of a connection into what a person understands.
func gone(err error) error {
	switch {
	case errors.Is(err, io.EOF), disconnected(err):
		return errors.New("the other end has gone")
	case errors.Is(err, syscall.ETIMEDOUT):
		return err
	}
	if t, ok := err.(net.Error); ok && t.Timeout() {
		return fmt.Errorf("the other end did not answer for %v", patience)
	}
	return err
}

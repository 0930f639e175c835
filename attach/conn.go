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

// conn sends and receives messages. At most one goroutine sends and one receives at a time.
type conn struct {
	*net.UnixConn
	blocking *blockingConn // replaces UnixConn if it is not nil
	in       []byte        // of a client
	oob      []byte
}

func newConn(c *net.UnixConn) *conn {
	// Room for one message, whatever net.core.wmem_default is. A failure does no harm.
	c.SetWriteBuffer(2 * maxMessage)
	return &conn{UnixConn: c, oob: make([]byte, oobLenForOne)}
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
	if c.blocking != nil {
		return c.blocking.write(m.b, oob)
	}
	_, _, err := c.WriteMsgUnix(m.b, oob, nil)
	return err
}

// recv receives a message, which is valid until the next call, and a descriptor that came
// with it, -1 for none.
func (c *conn) recv() (m message, fd int, err error) {
	var n, oobn, flags int
	if c.blocking != nil {
		n, oobn, flags, err = c.blocking.read(c.in, c.oob)
	} else {
		n, oobn, flags, _, err = c.ReadMsgUnix(c.in, c.oob)
	}
	fd = parseOneRight(c.oob[:oobn])
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

// hangUp ends the connection and the calls that wait for it.
func (c *conn) hangUp() {
	if c.blocking != nil {
		c.blocking.hangUp()
	} else {
		c.Close()
	}
}

// ioTimeout is how long one end waits for the other to do what takes microseconds: to send
// hello, to answer, to read an answer. Tests change it.
var ioTimeout = 10 * time.Second

// disconnected reports whether err means that the other end has closed the connection.
// What it sent before can still be read.
func disconnected(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// connError explains an error of a connection.
func connError(err error) error {
	switch {
	case errors.Is(err, io.EOF), disconnected(err):
		return errOtherEndClosed
	case errors.Is(err, syscall.ETIMEDOUT):
		return err
	}
	if t, ok := err.(net.Error); ok && t.Timeout() {
		return fmt.Errorf("the other end did not answer for %v", ioTimeout)
	}
	return err
}

var errOtherEndClosed = errors.New("the other end has closed the connection")

package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/source/file/capfile"
)

// session is a client.
type session struct {
	s          *Server
	conn       net.Conn
	ctx        context.Context // until the client or the server ends
	cancel     context.CancelCauseFunc
	request    Request
	packets    atomic.Uint64 // sent
	dropped    atomic.Uint64
	wg         sync.WaitGroup                    // the goroutine that reads from the client
	inputEnded atomic.Bool                       // it has ended
	captured   sync.WaitGroup                    // of deviceCapture.send
	served     map[*rxring.Device]*deviceCapture // used by run

	mu         sync.Mutex
	w          *capfile.Writer // nil: nothing was sent
	interfaces map[capfile.Interface]*streamInterface
	extras     *capfile.ExtraCursor
}

func newSession(s *Server, conn net.Conn) *session {
	c := &session{s: s, conn: conn, served: make(map[*rxring.Device]*deviceCapture), interfaces: make(map[capfile.Interface]*streamInterface), extras: capfile.NewExtraCursor(s.cfg.Extras)}
	c.ctx, c.cancel = context.WithCancelCause(s.ctx)
	return c
}

// deadlineWriter writes to a client, which must receive all of it in time.
type deadlineWriter struct{ c *session }

func (w deadlineWriter) Write(b []byte) (int, error) {
	stall := w.c.s.cfg.Stall
	if w.c.ctx.Err() != nil {
		stall = endTime
	}
	w.c.conn.SetWriteDeadline(time.Now().Add(stall))
	return w.c.conn.Write(b)
}

// deviceInterval is the time between checks for new devices. Tests change it.
var deviceInterval = 500 * time.Millisecond

// probeInterval is the time between blocks of statistics to a client that sends nothing any more:
// only a Write shows whether it has also stopped receiving. Tests change it.
var probeInterval = 5 * time.Second

// run serves the client until it leaves or the server is closed. The error is why.
func (c *session) run() (err error) {
	if c.request, err = readRequest(c.conn); err != nil {
		return err
	}
	captures, err := c.openNew()
	if err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		closeAll(captures)
		return err
	}
	// Unread bytes would make the system reset the connection when it is closed. Many clients
	// close their sending side at once, so the end of what they send does not end the stream.
	c.wg.Go(func() {
		if _, err := io.Copy(io.Discard, c.conn); err != nil {
			c.cancel(err)
		}
		c.inputEnded.Store(true)
	})
	// The server's end must not wait for a client that stalls.
	defer context.AfterFunc(c.ctx, func() { c.conn.SetWriteDeadline(time.Now().Add(endTime)) })()
	tick := time.NewTicker(deviceInterval)
	defer tick.Stop()
	probed := time.Now()
	for {
		for _, capture := range captures {
			c.start(capture)
		}
		c.mu.Lock()
		err := c.sendExtrasLocked()
		if err == nil && c.inputEnded.Load() && time.Since(probed) >= probeInterval {
			probed = time.Now()
			err = c.probeLocked()
		}
		c.mu.Unlock()
		if err == nil {
			err = c.flush()
		}
		if err != nil {
			c.cancel(err)
		}
		select {
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		case <-tick.C:
		}
		if captures, err = c.openNew(); err != nil {
			return err
		}
	}
}

// begin writes the header of the stream.
func (c *session) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	extra, _ := c.extras.Next()
	w, err := capfile.NewWriter(deadlineWriter{c}, capfile.Section{OS: runtime.GOOS, Application: "rxring stream", Comments: extra.Comments})
	if err != nil {
		return err
	}
	c.w = w
	return w.WriteExtra(extra)
}

// sendExtrasLocked sends the extras that were added.
func (c *session) sendExtrasLocked() error {
	e, more := c.extras.Next()
	if !more {
		return nil
	}
	return c.w.WriteExtra(e)
}

// endTime is how long a client may take to receive the end of its stream.
const endTime = time.Second

// close ends all goroutines, and the connection.
func (c *session) close() {
	c.cancel(net.ErrClosed)
	c.captured.Wait()
	c.flush()
	c.conn.Close()
	c.wg.Wait()
}

// refuse sends an error in place of a stream.
func (c *session) refuse(err error) {
	if c.w == nil {
		c.conn.SetWriteDeadline(time.Now().Add(endTime))
		fmt.Fprintf(c.conn, "%s%v\n", ErrorPrefix, err)
	}
}

// openNew opens captures of the devices that the client wants and that are not served yet.
func (c *session) openNew() (opened []*deviceCapture, err error) {
	devices := slices.DeleteFunc(c.s.ns.Devices(), func(d *rxring.Device) bool {
		return c.s.cfg.Devices != nil && !c.s.cfg.Devices(d)
	})
	c.forgetRemoved(devices)
	defer func() {
		if err != nil {
			closeAll(opened)
		}
	}()
	var names []string
	for _, d := range devices {
		names = append(names, d.Name())
		if c.request.Device != "" && d.Name() != c.request.Device {
			continue
		}
		a, err := c.openOne(d)
		if err != nil {
			return opened, err
		}
		if a != nil {
			opened = append(opened, a)
		}
	}
	began := c.w != nil
	switch {
	case !began && len(opened) > capfile.MaxInterfaces:
		return opened, refusef("%d devices: a stream can describe %d: want one of them as \"device\"", len(opened), capfile.MaxInterfaces)
	case c.request.Device == "" || slices.Contains(names, c.request.Device):
		return opened, nil
	case began:
		return opened, fmt.Errorf("device %s was removed", c.request.Device)
	}
	return opened, refusef("device %q: there is no such device: %s", c.request.Device, suggest.Among(c.request.Device, names))
}

// closeAll closes captures that were not started.
func closeAll(captures []*deviceCapture) {
	for _, a := range captures {
		a.close()
	}
}

// openOne opens a capture of a device, unless it has one. Once the stream has begun, a device
// for which there is no memory is tried again.
func (c *session) openOne(d *rxring.Device) (*deviceCapture, error) {
	a, known := c.served[d]
	if known && a.tap != nil {
		return nil, nil
	}
	if !known {
		a = c.newCapture(d)
	}
	err := a.open()
	var missing *noMemoryError
	switch {
	case errors.Is(err, syscall.ENODEV): // it was removed meanwhile
		return nil, nil
	case errors.As(err, &missing) && c.w == nil:
		return nil, refusef("%v", err)
	case errors.As(err, &missing) && known:
		return nil, nil
	case errors.As(err, &missing):
		c.served[d] = a
		return nil, c.reportMissing(a, err)
	case err != nil:
		return nil, err
	}
	c.served[d] = a
	return a, nil
}

// forgetRemoved forgets devices that are not among those that exist. A capture usually ends by
// itself; it is stopped one interval later, since a device that is down when it is removed does
// not wake its reader.
func (c *session) forgetRemoved(exist []*rxring.Device) {
	for d, a := range c.served {
		switch {
		case slices.Contains(exist, d):
		case a.tap == nil:
			delete(c.served, d)
		case a.gone:
			a.stop()
			delete(c.served, d)
		default:
			a.gone = true
		}
	}
}

// flush sends what was written.
func (c *session) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.w == nil {
		return nil
	}
	return c.w.Flush()
}

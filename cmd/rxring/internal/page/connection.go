package page

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/cmd/rxring/internal/pcapfilter"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/source/file/linktype"
	"github.com/rxring/rxring/source/file/tap"
)

// connection is the page's client, which is attached while it is in use. It is a [top.Source].
type connection struct {
	connect func(context.Context) (*attach.Client, error)

	mu     sync.Mutex
	client *attach.Client // nil: not attached
	users  int
}

// acquire returns the client until release is called.
func (c *connection) acquire(ctx context.Context) (client *attach.Client, release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client != nil && c.client.Err() != nil { // its grant was revoked
		c.client.Close()
		c.client = nil
	}
	if c.client == nil {
		if c.client, err = c.connect(ctx); err != nil {
			c.client = nil
			if at := new(fs.PathError); errors.As(err, &at) { // it is the path in the sandbox
				err = at.Err
			}
			return nil, nil, err
		}
	}
	c.users++
	return c.client, sync.OnceFunc(c.release), nil
}

func (c *connection) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users--; c.users == 0 && c.client != nil {
		c.client.Close()
		c.client = nil
	}
}

// Status returns what the page may see of the namespace.
func (c *connection) Status(ctx context.Context) (attach.Status, error) {
	client, release, err := c.acquire(ctx)
	if err != nil {
		return attach.Status{}, err
	}
	defer release()
	st, err := client.Status()
	if why := client.Err(); err != nil && why != nil {
		err = why // more specific
	}
	return st, err
}

// Close does nothing: see release.
func (c *connection) Close() error { return nil }

// request is what a page captures.
type request struct {
	device, filter string
	snaplen        int // bytes of a packet; 0: all
}

// ringSize is that of a page's ring, in bytes.
const ringSize = 4 << 20

// open opens a capture within the page's grant, until it is closed and release is called.
func (c *connection) open(ctx context.Context, r request) (t *tap.Tap, release func(), err error) {
	client, release, err := c.acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	if t, err = openTap(client, r); err != nil {
		release()
		return nil, nil, err
	}
	return t, release, nil
}

func openTap(client *attach.Client, r request) (*tap.Tap, error) {
	d, err := deviceOf(client, r.device)
	if err != nil {
		return nil, &fieldError{"device", err}
	}
	programs, err := compile(d, r.filter)
	if err != nil {
		return nil, &fieldError{"filter", err}
	}
	return tap.Open(d, tap.Config{
		Programs: programs, Tags: pcapfilter.Tags(r.filter), Snaplen: r.snaplen, Promiscuous: true, Buffer: ringSize, Retire: retireTime,
		Open: func(d *rxring.Device, cfg capture.Config) (*capture.Handle, error) {
			return capture.OpenAttached(client, d.Name(), cfg)
		},
	})
}

// retireTime is how long a packet waits in its block at most: a table shows rows ten times a
// second.
const retireTime = 50 * time.Millisecond

func deviceOf(client *attach.Client, name string) (*rxring.Device, error) {
	if d, ok := client.Namespace().DeviceByName(name); ok {
		return d, nil
	}
	names, err := deviceNames(client)
	switch {
	case err != nil:
		return nil, err
	case len(names) == 0:
		return nil, explain.Errorf(syscall.ENODEV, "device %q: this page may see no device", name)
	case name == "":
		return nil, explain.Errorf(syscall.ENODEV, "choose a device")
	}
	return nil, explain.Errorf(syscall.ENODEV, "device %q: want %s", name, strings.Join(names, ", "))
}

// deviceNames requests the devices that the page may see. Devices of the client's namespace would
// leave out a loopback device that the server offers.
func deviceNames(client *attach.Client) ([]string, error) {
	st, err := client.Status()
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, d := range st.Devices {
		names = append(names, d.Name)
	}
	return names, nil
}

// maxFilter is the longest expression, in bytes.
const maxFilter = 4096

// compile compiles an expression for packets as files of the device's link type have them.
func compile(d *rxring.Device, expr string) ([][]cbpf.Instruction, error) {
	if len(expr) > maxFilter {
		return nil, fmt.Errorf("a filter of %d bytes: want at most %d", len(expr), maxFilter)
	}
	if strings.TrimSpace(expr) == "" {
		return nil, nil
	}
	link, _ := linktype.OfDevice(d.Type())
	prog, err := pcapfilter.Compile(expr, int(link), 0)
	if err != nil {
		return nil, err
	}
	return [][]cbpf.Instruction{prog}, nil
}

// ended returns why a capture has ended, in words for the page.
func ended(err error) string {
	switch {
	case errors.Is(err, syscall.ENETDOWN):
		return "The device is down, or the page may not read it any more."
	case errors.Is(err, capture.ErrClosed), errors.Is(err, context.Canceled):
		return "rxring has ended."
	}
	return err.Error()
}

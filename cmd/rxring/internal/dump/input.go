package dump

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/cmd/rxring/internal/dialer"
	"github.com/rxring/rxring/cmd/rxring/internal/pcapfilter"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/linktype"
)

// Input is an open device, whose handle rejects all packets until Run sets the filter.
type Input struct {
	Device string
	Handle *capture.Handle
	Others []string // if the device was not named: the others that could be

	// Start starts the device's source, after the filter is set. done is closed when the
	// source has ended; nil: it does not end by itself. A nil Start: packets arrive already.
	Start func() (done <-chan struct{}, err error)

	link   capfile.LinkType
	cooked bool // packets are received without a link-layer header, and written with LINUX_SLL2's
	shared bool // another process owns the ring, and can reclaim it
	client *attach.Client

	present func() bool // whether the device exists, up or down
}

// rejectAll is a filter that accepts no packet.
var rejectAll = []cbpf.Instruction{{Op: cbpf.OpRetK}}

// OpenLive opens a network interface through the kernel; name "" is the first one that
// is up. An error for lack of privilege suggests the socket at.
func OpenLive(name, at string, c capture.Config) (*Input, error) {
	var others []string
	if name == "" {
		up, err := upInterfaces()
		if err != nil {
			return nil, err
		}
		name, others = up[0], up[1:]
	}
	index := 0
	if i, err := net.InterfaceByName(name); err == nil {
		index = i.Index
		if i.Flags&net.FlagLoopback != 0 {
			c.IgnoreOutgoing = true // a loopback device receives each packet that it sends
		}
	}
	c.Filter = rejectAll
	present := func() bool {
		_, err := net.InterfaceByIndex(index)
		return err == nil
	}
	in, err := newInput(&Input{Device: name, Others: others, present: present}, c, func(c capture.Config) (*capture.Handle, error) { return capture.Open(name, c) })
	if errors.Is(err, syscall.EPERM) {
		return nil, fmt.Errorf("%w: be root or have that capability, or read what `rxring serve` offers: rxring dump --at %s", err, at)
	}
	return in, err
}

// upInterfaces returns the names of the interfaces that are up, loopback interfaces last,
// or an error if there are none.
func upInterfaces() (names []string, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var loopbacks []string
	for _, i := range all {
		switch {
		case i.Flags&net.FlagUp == 0:
		case i.Flags&net.FlagLoopback == 0:
			names = append(names, i.Name)
		default:
			loopbacks = append(loopbacks, i.Name)
		}
	}
	if names = append(names, loopbacks...); names == nil {
		return nil, errors.New("no network interface is up: bring one up (ip link set NAME up), or name one with -i")
	}
	return names, nil
}

// OpenAttached opens a device of the namespace that is offered at path; name "" is the
// first one.
func OpenAttached(ctx context.Context, path, name string, c capture.Config) (*Input, error) {
	client, err := dialer.Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	in, err := openAttached(client, path, name, c)
	if err != nil {
		client.Close()
	}
	return in, err
}

func openAttached(client *attach.Client, path, name string, c capture.Config) (*Input, error) {
	var others []string
	if name == "" {
		all := client.Namespace().Devices()
		if len(all) == 0 {
			return nil, fmt.Errorf("%s: it offers no device to this user", path)
		}
		name, others = all[0].Name(), names(all[1:])
	}
	c.Filter = rejectAll
	present := func() bool { // asks the other process: client's own list may be outdated
		st, err := client.Status()
		return err == nil && slices.ContainsFunc(st.Devices, func(d attach.DeviceStatus) bool { return d.Name == name })
	}
	in, err := newInput(&Input{Device: name, Others: others, shared: true, client: client, present: present}, c,
		func(c capture.Config) (*capture.Handle, error) { return capture.OpenAttached(client, name, c) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return in, nil
}

// OpenDevice opens a device of this process.
func OpenDevice(d *rxring.Device, c capture.Config) (*Input, error) {
	c.Filter = rejectAll
	present := func() bool { return slices.Contains(d.Namespace().Devices(), d) }
	return newInput(&Input{Device: d.Name(), present: present}, c, func(c capture.Config) (*capture.Handle, error) { return capture.OpenDevice(d, c) })
}

func names(devices []*rxring.Device) (names []string) {
	for _, d := range devices {
		names = append(names, d.Name())
	}
	return names
}

// newInput opens the device, cooked if its hardware type has no link type of its own.
func newInput(in *Input, c capture.Config, open func(capture.Config) (*capture.Handle, error)) (*Input, error) {
	h, err := open(c)
	if err != nil {
		return nil, err
	}
	if in.link, in.cooked = linktype.OfDevice(rxring.DeviceType(h.Hatype())); in.cooked {
		h.Close()
		c.Cooked = true
		if h, err = open(c); err != nil {
			return nil, err
		}
	}
	in.Handle = h
	return in, nil
}

// Close closes the handle and the connection.
func (in *Input) Close() error {
	err := in.Handle.Close()
	if errors.Is(err, capture.ErrClosed) {
		err = nil
	}
	if in.client != nil {
		err = errors.Join(err, in.client.Close())
	}
	return err
}

// filter is a compiled expression.
type filter struct {
	socket []cbpf.Instruction // attached to the socket; nil: none
	own    *cbpf.Filter       // run by dumper on the packet as it is written; nil: none
}

// compile compiles an expression for the socket or, where packets are written otherwise
// than the socket's filter sees them, for the dumper.
func (in *Input) compile(expr string, snaplen int) (f filter, err error) {
	if strings.TrimSpace(expr) == "" {
		return f, nil
	}
	prog, err := pcapfilter.Compile(expr, int(in.link), snaplen)
	if err != nil {
		return f, err
	}
	if !pcapfilter.Tags(expr) && !in.reshapes() {
		f.socket = prog
		return f, nil
	}
	f.own, err = cbpf.Compile(prog)
	return f, err
}

// explain replaces ENETDOWN by the reason why the connection ended, if it did.
func (in *Input) explain(err error) error {
	if in.client == nil || !errors.Is(err, syscall.ENETDOWN) {
		return err
	}
	if why := in.client.Err(); why != nil {
		return why
	}
	return err
}

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
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/source/file/capfile"
)

// Input is an open device, or several, whose handle rejects all packets until Run sets the
// filter.
type Input struct {
	Device string // its name, or the names of several
	Handle *capture.Handle
	Others []string // if no device was named: the others that could be

	// Start starts the device's source, after the filter is set. done is closed when the
	// source has ended; nil: it does not end by itself. A nil Start: packets arrive already.
	Start func() (done <-chan struct{}, err error)

	Extras []*capfile.Extras // written to each pcapng file, and to each client

	devices []*device // the one, or those that were named or have had packets
	several *several  // nil: one device
	last    *device   // of the packet received last; the one device

	shared bool // another process owns the ring, and can reclaim it
	client *attach.Client

	present func() bool // whether the device, or one of those that were named, exists, up or down
}

// rejectAll is a filter that accepts no packet.
var rejectAll = []cbpf.Instruction{{Op: cbpf.OpRetK}}

// OpenLive opens network interfaces through the kernel: those with the names, all of them for
// [Any], or without names the first one that is up. An error for lack of privilege suggests the
// socket at.
func OpenLive(names []string, at string, c capture.Config) (*Input, error) {
	names, all, err := splitAny(names)
	if err != nil {
		return nil, err
	}
	var others []string
	if len(names) == 0 && !all {
		up, err := upInterfaces()
		if err != nil {
			return nil, err
		}
		names, others = up[:1], up[1:]
	}
	var in *Input
	if len(names) == 1 {
		in, err = openInterface(names[0], c)
	} else {
		in, err = openInterfaces(names, c)
	}
	if errors.Is(err, syscall.EPERM) {
		return nil, fmt.Errorf("%w: be root or have that capability, or read what `rxring serve` offers: rxring dump --at %s", err, at)
	}
	if err != nil {
		return nil, err
	}
	in.Others = others
	return in, nil
}

func openInterface(name string, c capture.Config) (*Input, error) {
	index := 0
	if i, err := net.InterfaceByName(name); err == nil {
		index = i.Index
		if i.Flags&net.FlagLoopback != 0 {
			c.IgnoreOutgoing = true // a loopback device receives each packet that it sends
		}
	}
	in := &Input{Device: name, present: func() bool { return interfaceExists(index) }}
	return newInput(in, index, c, func(c capture.Config) (*capture.Handle, error) { return capture.Open(name, c) })
}

func interfaceExists(index int) bool {
	_, err := net.InterfaceByIndex(index)
	return err == nil
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

// openInterfaces opens several interfaces; without names, all.
func openInterfaces(names []string, c capture.Config) (*Input, error) {
	present, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	s := &several{name: interfaceName}
	var devices []*device
	for _, i := range present {
		if len(names) > 0 && !slices.Contains(names, i.Name) {
			continue
		}
		hatype, err := interfaceType(i.Name)
		if err != nil {
			if len(names) > 0 {
				return nil, fmt.Errorf("-i %s: %w", i.Name, err)
			}
			continue // it has been deleted
		}
		devices = append(devices, newDevice(i.Name, i.Index, hatype))
		if i.Flags&net.FlagLoopback != 0 {
			s.loopback = int32(i.Index)
		}
	}
	if len(names) > 0 {
		if devices, err = inOrder(devices, names); err != nil {
			return nil, err
		}
	}
	in := &Input{several: s, present: func() bool { return true }}
	if len(names) > 0 {
		in.present = func() bool {
			return slices.ContainsFunc(devices, func(d *device) bool { return interfaceExists(int(d.index)) })
		}
	}
	return newSeveral(in, devices, len(names) > 0, c, func(c capture.Config) (*capture.Handle, error) { return capture.Open("", c) })
}

func interfaceName(index int) string {
	if i, err := net.InterfaceByIndex(index); err == nil {
		return i.Name
	}
	return removedName(index)
}

// inOrder returns the devices in the order of names, or an error if one is missing.
func inOrder(devices []*device, names []string) ([]*device, error) {
	var ordered []*device
	for _, name := range names {
		i := slices.IndexFunc(devices, func(d *device) bool { return d.name == name })
		if i < 0 {
			return nil, fmt.Errorf("-i %s: %w", name, suggest.NoInterface(name, syscall.ENODEV))
		}
		ordered = append(ordered, devices[i])
	}
	return ordered, nil
}

// OpenAttached opens devices of the namespace that is offered at path: those with the names, all
// of them for [Any], or without names the first one.
func OpenAttached(ctx context.Context, path string, names []string, c capture.Config) (*Input, error) {
	names, all, err := splitAny(names)
	if err != nil {
		return nil, err
	}
	client, err := dialer.Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	in, err := openAttached(client, path, names, all, c)
	if err != nil {
		client.Close()
	}
	return in, err
}

func openAttached(client *attach.Client, path string, names []string, all bool, c capture.Config) (*Input, error) {
	ns := client.Namespace()
	var others []string
	if len(names) == 0 && !all {
		offered := namesOf(ns.Devices())
		if len(offered) == 0 {
			return nil, fmt.Errorf("%s: it offers no device to this user", path)
		}
		names, others = offered[:1], offered[1:]
	}
	present := func() bool { // asks the other process: client's own list may be outdated
		st, err := client.Status()
		return err == nil && (all || slices.ContainsFunc(st.Devices, func(d attach.DeviceStatus) bool { return slices.Contains(names, d.Name) }))
	}
	in := &Input{Others: others, shared: true, client: client, present: present}
	var err error
	if len(names) == 1 {
		in.Device = names[0]
		index := 0
		if d, ok := ns.DeviceByName(names[0]); ok {
			index = d.Index()
		}
		in, err = newInput(in, index, c, func(c capture.Config) (*capture.Handle, error) { return capture.OpenAttached(client, names[0], c) })
	} else {
		in, err = openNamespace(in, ns, names, c, func(c capture.Config) (*capture.Handle, error) { return capture.OpenAttached(client, "", c) })
		if err == nil {
			in.several.name = func(index int) string { return offeredName(client, index) }
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return in, nil
}

// offeredName returns the name of a device that was added after the client had connected.
func offeredName(client *attach.Client, index int) string {
	st, _ := client.Status()
	for _, d := range st.Devices {
		if d.Index == index {
			return d.Name
		}
	}
	return removedName(index)
}

// removedName is a name for a device that was removed before its packets were read.
func removedName(index int) string { return fmt.Sprintf("if%d", index) }

// OpenDevices opens devices of a namespace of this process: those with the names, all of them
// for [Any], or without names the first one.
func OpenDevices(ns *rxring.Namespace, names []string, c capture.Config) (*Input, error) {
	names, all, err := splitAny(names)
	if err != nil {
		return nil, err
	}
	devices := ns.Devices()
	var others []string
	if len(names) == 0 && !all {
		if len(devices) == 0 {
			return nil, &UsageError{errors.New("there is no device: want a source that has one")}
		}
		present := namesOf(devices)
		names, others = present[:1], present[1:]
	}
	if len(names) != 1 {
		in := &Input{present: func() bool { return true }} // Start's channel is closed at the end
		return openNamespace(in, ns, names, c, func(c capture.Config) (*capture.Handle, error) { return capture.OpenNamespace(ns, c) })
	}
	d, ok := ns.DeviceByName(names[0])
	if !ok {
		return nil, noDevice(names[0], devices)
	}
	in := &Input{Device: d.Name(), Others: others, present: func() bool { return slices.Contains(ns.Devices(), d) }}
	return newInput(in, d.Index(), c, func(c capture.Config) (*capture.Handle, error) { return capture.OpenDevice(d, c) })
}

// openNamespace opens several devices of a namespace; without names, all.
func openNamespace(in *Input, ns *rxring.Namespace, names []string, c capture.Config, open func(capture.Config) (*capture.Handle, error)) (*Input, error) {
	in.several = &several{name: func(index int) string {
		if d, ok := ns.DeviceByIndex(index); ok {
			return d.Name()
		}
		return removedName(index)
	}}
	present := ns.Devices()
	if len(names) > 0 {
		present = nil
		for _, name := range names {
			d, ok := ns.DeviceByName(name)
			if !ok {
				return nil, noDevice(name, ns.Devices())
			}
			present = append(present, d)
		}
	}
	var devices []*device
	for _, d := range present {
		devices = append(devices, newDevice(d.Name(), d.Index(), uint16(d.Type())))
	}
	return newSeveral(in, devices, len(names) > 0, c, open)
}

func noDevice(name string, devices []*rxring.Device) error {
	return &UsageError{fmt.Errorf("-i %s: there is no such device: %s", name, suggest.Among(name, namesOf(devices)))}
}

func namesOf(devices []*rxring.Device) (names []string) {
	for _, d := range devices {
		names = append(names, d.Name())
	}
	return names
}

// newInput opens one device, cooked if its hardware type has no link type of its own.
func newInput(in *Input, index int, c capture.Config, open func(capture.Config) (*capture.Handle, error)) (*Input, error) {
	c.Filter = rejectAll
	h, err := open(c)
	if err != nil {
		return nil, err
	}
	d := newDevice(in.Device, index, h.Hatype())
	if d.cooked {
		h.Close()
		c.Cooked = true
		if h, err = open(c); err != nil {
			return nil, err
		}
	}
	in.Handle, in.last, in.devices = h, d, []*device{d}
	return in, nil
}

// compile compiles an expression for the socket. Where its filter cannot decide, dumper runs the
// filter of a packet's device.
func (in *Input) compile(expr string, snaplen int) ([]cbpf.Instruction, error) {
	if in.several != nil {
		return in.several.compile(in.devices, expr, snaplen)
	}
	return in.last.compile(expr, snaplen)
}

// Reads reports whether packets of a device are captured.
func (in *Input) Reads(name string) bool {
	if s := in.several; s != nil && !s.named {
		return true
	}
	return slices.ContainsFunc(in.devices, func(d *device) bool { return d.name == name })
}

// named returns the devices that were named.
func (in *Input) named() []*device {
	if s := in.several; s != nil && !s.named {
		return nil
	}
	return in.devices
}

// linkTypes lists the devices' link types.
func (in *Input) linkTypes() string {
	var types []string
	for _, d := range in.devices {
		if t := d.link.String(); !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	return strings.Join(types, ", ")
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

// were returns a subject for messages, with its verb.
func (in *Input) were() string {
	if in.several != nil {
		return "all devices were"
	}
	return "the device was"
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

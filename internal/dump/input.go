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
	"github.com/rxring/rxring/internal/capfile"
	"github.com/rxring/rxring/internal/pcapfilter"
	"github.com/rxring/rxring/tpacket"
)

// Input is where packets come from: a handle that lets none in yet.
type Input struct {
	Device string
	Handle *capture.Handle
	Others []string // devices that could have been chosen, when nobody chose

	// Start lets packets come, once they are let in, and returns what is closed when
	// nothing more will come. nil: they come already.
	Start func() (done <-chan struct{}, err error)

	link   capfile.LinkType
	shared bool // another process can take the ring back
	client *attach.Client

	present func() bool // whether the device is there, up or down
}

// nothing is the filter of a handle that is not to let packets in.
var nothing = []cbpf.Instruction{{Op: 0x06}} // ret #0

// OpenLive opens a network interface through the kernel; name "" is the first one that
// is up. At is where to look for a served one, for an error.
func OpenLive(name, at string, c capture.Config) (*Input, error) {
	if name == "" {
		var err error
		if name, err = firstInterface(); err != nil {
			return nil, err
		}
	}
	index := 0
	if i, err := net.InterfaceByName(name); err == nil {
		index = i.Index
		if i.Flags&net.FlagLoopback != 0 {
			c.IgnoreOutgoing = true // each packet comes in, too
		}
	}
	c.Filter = nothing
	h, err := capture.Open(name, c)
	switch {
	case errors.Is(err, syscall.EPERM):
		return nil, fmt.Errorf("%w: run it as root or with that capability, or read what `rxring serve` offers: rxring dump --at %s", err, at)
	case err != nil:
		return nil, err
	}
	present := func() bool {
		_, err := net.InterfaceByIndex(index)
		return err == nil
	}
	return newInput(&Input{Device: name, Handle: h, present: present})
}

// firstInterface is the first one that is up, and not the loopback unless there is no
// other.
func firstInterface() (string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	loopback := ""
	for _, i := range all {
		switch {
		case i.Flags&net.FlagUp == 0:
		case i.Flags&net.FlagLoopback == 0:
			return i.Name, nil
		case loopback == "":
			loopback = i.Name
		}
	}
	if loopback == "" {
		return "", errors.New("no network interface is up")
	}
	return loopback, nil
}

// OpenAttached opens a device of the namespace that is offered at path; name "" is the
// first one.
func OpenAttached(ctx context.Context, path, name string, c capture.Config) (*Input, error) {
	client, err := attach.Dial(ctx, path)
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
			return nil, fmt.Errorf("%s: it has no device for this user", path)
		}
		name, others = all[0].Name(), names(all[1:])
	}
	c.Filter = nothing
	h, err := capture.OpenAttached(client, name, c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	present := func() bool { // the other process is asked: our own list may be of before
		st, err := client.Status()
		return err == nil && slices.ContainsFunc(st.Devices, func(d attach.DeviceStatus) bool { return d.Name == name })
	}
	return newInput(&Input{Device: name, Handle: h, Others: others, shared: true, client: client, present: present})
}

// OpenDevice opens a device of this process.
func OpenDevice(d *rxring.Device, c capture.Config) (*Input, error) {
	c.Filter = nothing
	h, err := capture.OpenDevice(d, c)
	if err != nil {
		return nil, err
	}
	present := func() bool { return slices.Contains(d.Namespace().Devices(), d) }
	return newInput(&Input{Device: d.Name(), Handle: h, present: present})
}

func names(devices []*rxring.Device) (names []string) {
	for _, d := range devices {
		names = append(names, d.Name())
	}
	return names
}

func newInput(in *Input) (*Input, error) {
	switch t := in.Handle.Hatype(); t {
	case tpacket.ARPHRDEther, tpacket.ARPHRDLoopback:
		in.link = capfile.LinkEthernet
	case tpacket.ARPHRDNone, arphrdRawIP:
		in.link = capfile.LinkRaw
	default:
		in.Handle.Close()
		return nil, fmt.Errorf("device %s: hardware type %d: want Ethernet (%d) or one without link-layer headers (%d, %d)", in.Device, t, tpacket.ARPHRDEther, tpacket.ARPHRDNone, arphrdRawIP)
	}
	return in, nil
}

// arphrdRawIP is ARPHRD_RAWIP (linux/if_arp.h), as of mobile modems.
const arphrdRawIP = 519

// Close ends the input.
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

// filter is what there is of an expression.
type filter struct {
	socket []cbpf.Instruction // for the socket; nil: none
	own    *cbpf.Filter       // for the packet with its tag put back; nil: none
}

// compile makes the filter of an expression for in.
func (in *Input) compile(expr string, snaplen int) (f filter, err error) {
	if strings.TrimSpace(expr) == "" {
		return f, nil
	}
	prog, err := pcapfilter.Compile(expr, int(in.link), snaplen)
	if err != nil {
		return f, err
	}
	if !pcapfilter.Tags(expr) {
		f.socket = prog
		return f, nil
	}
	f.own, err = cbpf.Compile(prog)
	return f, err
}

// over is err with what is known of the end of the other process.
func (in *Input) over(err error) error {
	if in.client == nil || !errors.Is(err, syscall.ENETDOWN) {
		return err
	}
	if why := in.client.Err(); why != nil {
		return why
	}
	return err
}

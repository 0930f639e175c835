package dump

import (
	"strings"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/cmd/rxring/internal/pcapfilter"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/linktype"
)

// device is a device whose packets are captured.
type device struct {
	name   string
	id     int // its index in Input.devices
	index  int32
	hatype uint16

	link   capfile.LinkType
	cooked bool         // packets are written with a header of LINUX_SLL2 in place of the link-layer header
	own    *cbpf.Filter // run by dumper on packets as they are written; nil: none
}

func newDevice(name string, index int, hatype uint16) *device {
	d := &device{name: name, index: int32(index), hatype: hatype}
	d.link, d.cooked = linktype.OfDevice(rxring.DeviceType(hatype))
	return d
}

// cook has the packets written with a header of LINUX_SLL2.
func (d *device) cook() { d.link, d.cooked = capfile.LinkLinuxSLL2, true }

// compile compiles an expression for the socket. Where packets are written otherwise than the
// socket's filter sees them, it sets own and returns nil, which accepts everything.
func (d *device) compile(expr string, snaplen int) ([]cbpf.Instruction, error) {
	d.own = nil
	if strings.TrimSpace(expr) == "" {
		return nil, nil
	}
	prog, err := pcapfilter.Compile(expr, int(d.link), snaplen)
	if err != nil {
		return nil, err
	}
	if !pcapfilter.Tags(expr) && !d.reshapes() {
		return prog, nil
	}
	d.own, err = cbpf.Compile(prog)
	return nil, err
}

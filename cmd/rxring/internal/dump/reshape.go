package dump

import (
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/source/file/linktype"
)

// reshapes reports whether packets are written in another form than the ring has them.
func (d *device) reshapes() bool { return d.cooked || d.link == linktype.CAN }

// tagged reports whether the packet's VLAN tag is beside the frame.
func tagged(f *ring.Frame) bool { return linktype.Tagged(f) }

// appendFrame appends a packet to b in the form of the device's link type.
func (d *device) appendFrame(b []byte, f *ring.Frame) []byte {
	return linktype.AppendFrame(b, d.link, d.cooked, f)
}

package dump

import (
	"encoding/binary"

	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/linktype"
)

// reshapes reports whether packets are written in another form than the ring has them.
func (d *device) reshapes() bool { return d.cooked || d.link == linktype.CAN }

// appendFrame appends a packet to b in the form of the device's link type.
func (d *device) appendFrame(b []byte, f *ring.Frame) []byte {
	switch {
	case d.cooked:
		return append(linktype.AppendSLL2(b, &f.From), f.Data[min(f.Net, len(f.Data)):]...)
	case d.link == linktype.CAN && len(f.Data) >= 4: // the identifier is big-endian in files
		b = binary.BigEndian.AppendUint32(b, binary.NativeEndian.Uint32(f.Data))
		return append(b, f.Data[4:]...)
	case d.link == capfile.LinkEthernet && tagged(f):
		return appendTagged(b, f)
	}
	return append(b, f.Data...)
}

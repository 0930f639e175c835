package dump

import (
	"encoding/binary"

	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/linktype"
)

// reshapes reports whether packets are written in another form than the ring has them.
func (in *Input) reshapes() bool { return in.cooked || in.link == linktype.CAN }

// appendFrame appends a packet to b in the form of the input's link type.
func (in *Input) appendFrame(b []byte, f *ring.Frame) []byte {
	switch {
	case in.cooked:
		return append(linktype.AppendSLL2(b, &f.From), f.Data...)
	case in.link == linktype.CAN && len(f.Data) >= 4: // the identifier is big-endian in files
		b = binary.BigEndian.AppendUint32(b, binary.NativeEndian.Uint32(f.Data))
		return append(b, f.Data[4:]...)
	case in.link == capfile.LinkEthernet && tagged(f):
		return appendTagged(b, f)
	}
	return append(b, f.Data...)
}

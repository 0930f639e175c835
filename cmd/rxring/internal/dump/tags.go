package dump

import (
	"encoding/binary"

	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

const macs = 12 // bytes of both addresses, after which the tag belongs

// tagged reports whether the packet's VLAN tag is beside the frame.
func tagged(f *ring.Frame) bool {
	return f.Status&tpacket.StatusVLANValid != 0 && len(f.Data) >= macs
}

// appendTagged appends a frame to b, with its VLAN tag reinserted.
func appendTagged(b []byte, f *ring.Frame) []byte {
	tpid := uint16(tpacket.ETHP8021Q)
	if f.Status&tpacket.StatusVLANTPID != 0 {
		tpid = f.VLANTPID
	}
	b = append(b, f.Data[:macs]...)
	b = binary.BigEndian.AppendUint16(b, tpid)
	b = binary.BigEndian.AppendUint16(b, f.VLANTCI)
	return append(b, f.Data[macs:]...)
}

package linktype

import (
	"encoding/binary"

	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/tpacket"
)

// macs is the length of both addresses of an Ethernet frame, after which its VLAN tag belongs.
const macs = 12

// Tagged reports whether a packet from a ring has a VLAN tag beside its bytes.
func Tagged(f *ring.Frame) bool {
	return f.Status&tpacket.StatusVLANValid != 0 && len(f.Data) >= macs
}

// TPID returns the type of the VLAN tag beside a packet's bytes.
func TPID(f *ring.Frame) uint16 {
	if f.Status&tpacket.StatusVLANTPID != 0 {
		return f.VLANTPID
	}
	return tpacket.ETHP8021Q
}

// AppendFrame appends a packet from a ring to b as files of its device's link type store it: see
// [OfDevice]. Of a cooked packet the link-layer header is replaced by that of LINUX_SLL2, and a VLAN
// tag that is beside an Ethernet frame is inserted. The packet's length changes by as many bytes as
// its data does.
func AppendFrame(b []byte, link capfile.LinkType, cooked bool, f *ring.Frame) []byte {
	switch {
	case cooked:
		return append(AppendSLL2(b, &f.From), f.Data[min(f.Net, len(f.Data)):]...)
	case link == CAN && len(f.Data) >= 4: // the identifier is big-endian in files
		b = binary.BigEndian.AppendUint32(b, binary.NativeEndian.Uint32(f.Data))
		return append(b, f.Data[4:]...)
	case link == capfile.LinkEthernet && Tagged(f):
		b = append(b, f.Data[:macs]...)
		b = binary.BigEndian.AppendUint16(b, TPID(f))
		b = binary.BigEndian.AppendUint16(b, uint16(f.VLANTCI))
		return append(b, f.Data[macs:]...)
	}
	return append(b, f.Data...)
}

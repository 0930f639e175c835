package bench

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/tpacket"
)

// Sizes are those of the packets, link-layer header included: an
// acknowledgement, a full Ethernet frame, a large segment (GSO).
var Sizes = []int{64, 1500, 65536}

func sizeName(n int) string {
	if n >= 1<<10 && n%(1<<10) == 0 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// macLen is the length of an Ethernet header.
const macLen = 14

// packet is an Ethernet frame of n bytes with a TCP segment to port 80. Every
// contender gets the same one.
func packet(n int) []byte {
	b := make([]byte, n)
	copy(b, []byte{0x02, 0, 0, 0, 0, 9, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00})
	ip := b[macLen:]
	ip[0], ip[8], ip[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	tcp := ip[20:]
	binary.BigEndian.PutUint16(tcp[0:], 40000)
	binary.BigEndian.PutUint16(tcp[2:], 80)
	tcp[12], tcp[13] = 5<<4, 0x10
	for i := 20; i < len(tcp); i++ {
		tcp[i] = byte(i * 7)
	}
	return b
}

// packetOfFlow is packet, from one of 256 ports.
func packetOfFlow(n, flow int) []byte {
	b := packet(n)
	b[macLen+20+1] += byte(flow)
	return b
}

// ringRequest is a V2 ring for packets of one size: the same for every
// contender that has a ring, and for the bare copy.
func ringRequest(size int) tpacket.Req {
	var r tpacket.Req
	switch {
	case size <= 128:
		r = tpacket.Req{BlockSize: 64 << 10, FrameSize: 256, FrameNr: 4096}
	case size <= 1900:
		r = tpacket.Req{BlockSize: 64 << 10, FrameSize: 2048, FrameNr: 4096}
	default:
		r = tpacket.Req{BlockSize: 68 << 10, FrameSize: 68 << 10, FrameNr: 256}
	}
	r.BlockNr = r.FrameNr / (r.BlockSize / r.FrameSize)
	return r
}

// lapOf is how many packets of a size fill their ring.
func lapOf(size int) int { return int(ringRequest(size).FrameNr) }

func geometry(r tpacket.Req) (tpacket.Geometry, error) {
	return tpacket.Layout(tpacket.V2, tpacket.Req3{Req: r}, 0, unix.Getpagesize())
}

// macOffset is where a packet lies in its slot.
var macOffset = int(tpacket.RawOffsets(tpacket.V2, macLen, 0, 0).Mac)

package capture

import (
	"fmt"
	"math"
	"math/bits"
	"os"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/tpacket"
)

// Config configures a capture. The zero value captures whole packets of all
// protocols, in blocks.
type Config struct {
	// Immediate delivers each packet at once, from a ring of slots (TPACKET_V2).
	// Otherwise packets are delivered in blocks (TPACKET_V3), each when it is full or
	// after Retire, which costs less per packet.
	Immediate bool
	Retire    time.Duration // whole milliseconds, 1 ms at least; 0: 64 ms

	Buffer int // size of the ring in bytes, about; 0: 4 MiB, and 16 MiB with Immediate, whose slots are all of the same size

	// Snaplen is the number of bytes of each packet to capture, at most 262144. 0 means
	// 262144; with Immediate it means the length of the device's longest packet, so that
	// no slot is larger than necessary (see [rxring.DeviceConfig].MaxLen), and 65535 if
	// that length is not known.
	Snaplen int

	Protocol uint16             // EtherType; 0: all (ETH_P_ALL)
	Cooked   bool               // without the link-layer header (SOCK_DGRAM)
	Filter   []cbpf.Instruction // nil: everything

	Promiscuous    bool // also packets to other hosts
	IgnoreOutgoing bool // only received packets

	VnetHeader bool // a struct virtio_net_hdr of 10 bytes right before each packet: see [ring.Frame.Headroom]
	Comments   bool // packets' comments: see [ring.Frame.Comment]; the kernel has none
	Hash       bool // each packet's flow hash; not with Immediate: TPACKET_V2 has no field for it

	Grant *rxring.Grant // limits what the handle receives, and its memory; nil: no limit. Only for devices of this program

	Fanout *rxring.FanoutConfig // shares the packets with other handles; nil: this handle gets all packets
}

const (
	maxSnaplen       = 262144 // tcpdump's own
	immediateSnaplen = 65535
	defaultBuffer    = 4 << 20
	immediateBuffer  = 16 << 20
	maxBuffer        = 1 << 30
	defaultRetire    = 64 * time.Millisecond
	minBlock         = 128 << 10
	commentRoom      = 256     // bytes of a slot for a comment
	minSlots         = 1 << 20 // bytes of a block of slots, so that few bytes are unused at its end
)

func refuse(field string, value any, want string, args ...any) error {
	return explain.Errorf(syscall.EINVAL, "capture: %s %v: want %s", field, value, fmt.Sprintf(want, args...))
}

// noGrant refuses a Grant for a device of another process, which grants what it wants.
func (c *Config) noGrant() error {
	if c.Grant != nil {
		return explain.Errorf(syscall.EINVAL, "capture: Grant: want none, unless the device is of this program")
	}
	return nil
}

// check validates c and sets its zero fields to their defaults.
func (c *Config) check() error {
	if c.Snaplen == 0 && !c.Immediate { // with Immediate it depends on the device
		c.Snaplen = maxSnaplen
	}
	if c.Buffer == 0 {
		c.Buffer = defaultBuffer
		if c.Immediate {
			c.Buffer = immediateBuffer
		}
	}
	if c.Retire == 0 {
		c.Retire = defaultRetire
	}
	if c.Protocol == 0 {
		c.Protocol = tpacket.ETHPAll
	}
	switch {
	case c.Snaplen < 0 || c.Snaplen > maxSnaplen:
		return refuse("Snaplen", c.Snaplen, "1 to %d bytes, or 0 for the default", maxSnaplen)
	case c.Buffer < 0 || c.Buffer > maxBuffer:
		return refuse("Buffer", c.Buffer, "1 to %d bytes, or 0 for the default", maxBuffer)
	case c.Retire < time.Millisecond || c.Retire > math.MaxInt32*time.Millisecond || c.Retire%time.Millisecond != 0:
		return refuse("Retire", c.Retire, "whole milliseconds, 1 ms at least")
	}
	switch {
	case c.VnetHeader && c.Cooked:
		return refuse("VnetHeader", true, "Cooked false: a SOCK_DGRAM socket has no struct virtio_net_hdr")
	case c.Hash && c.Immediate:
		return refuse("Hash", true, "Immediate false: TPACKET_V2 has no field for the hash")
	}
	if c.Filter != nil {
		if _, err := cbpf.Compile(c.Filter); err != nil {
			return fmt.Errorf("capture: Filter: %w", err)
		}
	}
	return nil
}

// maxEthernetHeader is the length in bytes of an Ethernet header with two VLAN tags.
const maxEthernetHeader = 14 + 2*4

// setSnaplen sets a Snaplen of 0 so that a device's longest packet is captured whole.
// maxLen is that packet's length in bytes without its link-layer header, 0 if it is not
// known.
func (c *Config) setSnaplen(hatype uint16, maxLen int) {
	switch {
	case c.Snaplen != 0:
	case maxLen == 0:
		c.Snaplen = immediateSnaplen
	case hatype == tpacket.ARPHRDEther || hatype == tpacket.ARPHRDLoopback:
		c.Snaplen = min(maxLen+maxEthernetHeader, maxSnaplen)
	case hatype == tpacket.ARPHRDNone || hatype == tpacket.ARPHRDRawIP:
		c.Snaplen = min(maxLen, maxSnaplen)
	default: // its header's length is not known
		c.Snaplen = immediateSnaplen
	}
}

// version returns the version of the ring.
func (c *Config) version() tpacket.Version {
	if c.Immediate {
		return tpacket.V2
	}
	return tpacket.V3
}

// request returns the argument of PACKET_RX_RING: at least two blocks, each large enough
// for a packet of Snaplen bytes.
func (c *Config) request() tpacket.Req3 {
	const headers = 128 // of either version, with alignment
	length := c.Snaplen + headers
	if c.Comments && c.Immediate { // a packet in a block has as much room as it needs
		length += commentRoom
	}
	frame := uint32(tpacket.Align(length))
	least := max(minBlock, uint32(os.Getpagesize()), frame+tpacket.SizeofBlockDesc)
	if c.Immediate {
		least = max(least, minSlots)
	}
	block := uint32(1) << bits.Len32(least-1)
	r := tpacket.Req3{Req: tpacket.Req{BlockSize: block, BlockNr: max(2, uint32(c.Buffer)/block), FrameSize: frame}}
	r.FrameNr = r.BlockNr * (block / frame) // V3 does not use it, but Linux checks it
	if c.Immediate {
		return r
	}
	r.RetireBlkTov = uint32(c.Retire / time.Millisecond)
	if c.Hash {
		r.FeatureReqWord = tpacket.FeatureFillRxhash
	}
	return r
}

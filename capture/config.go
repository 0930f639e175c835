package capture

import (
	"fmt"
	"math"
	"math/bits"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/tpacket"
)

// Config says how to capture. The zero value takes whole packets of all
// protocols, in blocks.
type Config struct {
	// Immediate hands over each packet at once, from a ring of slots (TPACKET_V2).
	// Otherwise packets come in blocks (TPACKET_V3), when one is full or after
	// Retire: less work a packet.
	Immediate bool
	Retire    time.Duration // whole milliseconds, 1 ms at least; 0: 64 ms

	Buffer int // bytes of the ring, about; 0: 4 MiB, and 16 MiB with Immediate, whose slots are all of the same size

	// Snaplen is how many bytes of each packet are wanted, at most 262144. 0: 262144;
	// with Immediate as many as the device's longest packets have, so that no slot is
	// larger than need be (see [rxring.DeviceConfig].MaxLen), and 65535 where that is
	// not known.
	Snaplen int

	Protocol uint16             // EtherType; 0: all (ETH_P_ALL)
	Cooked   bool               // without the link-layer header (SOCK_DGRAM)
	Filter   []cbpf.Instruction // nil: everything

	Promiscuous    bool // also packets to others
	IgnoreOutgoing bool // only packets that come in

	VnetHeader bool // a struct virtio_net_hdr of 10 bytes right before each packet: see [ring.Frame.Headroom]
	Hash       bool // each packet's flow hash; not with Immediate, whose rings have no place for it

	Fanout *rxring.FanoutConfig // shares the packets with other handles; nil: gets all of them
}

const (
	maxSnaplen       = 262144 // tcpdump's own
	immediateSnaplen = 65535
	defaultBuffer    = 4 << 20
	immediateBuffer  = 16 << 20
	maxBuffer        = 1 << 30
	defaultRetire    = 64 * time.Millisecond
	minBlock         = 128 << 10
	minSlots         = 1 << 20 // bytes of a block of them: little goes to waste at its end
)

func refuse(field string, value any, want string, args ...any) error {
	return explain.Errorf(syscall.EINVAL, "capture: %s %v: want %s", field, value, fmt.Sprintf(want, args...))
}

// check sets what is 0 to what it stands for.
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
		return refuse("Snaplen", c.Snaplen, "1 to %d bytes, or 0 for the most", maxSnaplen)
	case c.Buffer < 0 || c.Buffer > maxBuffer:
		return refuse("Buffer", c.Buffer, "1 to %d bytes, or 0 for a good one", maxBuffer)
	case c.Retire < time.Millisecond || c.Retire > math.MaxInt32*time.Millisecond || c.Retire%time.Millisecond != 0:
		return refuse("Retire", c.Retire, "whole milliseconds, 1 ms at least")
	}
	switch {
	case c.VnetHeader && c.Cooked:
		return refuse("VnetHeader", true, "it without Cooked: the kernel has none for SOCK_DGRAM")
	case c.Hash && c.Immediate:
		return refuse("Hash", true, "it without Immediate: TPACKET_V2 has no place for it")
	}
	if c.Filter != nil {
		if _, err := cbpf.Compile(c.Filter); err != nil {
			return fmt.Errorf("capture: Filter: %w", err)
		}
	}
	return nil
}

// arphrdRawIP is ARPHRD_RAWIP (linux/if_arp.h): no link-layer header.
const arphrdRawIP = 519

// etherRoom is the longest Ethernet header in bytes, with the two tags that may lie in
// the packet.
const etherRoom = 14 + 2*4

// fit sets a Snaplen of 0 to what the longest packet of a device of a hardware type
// needs, whose length is in bytes without its link-layer header; 0: it is not known.
func (c *Config) fit(hatype uint16, maxLen int) {
	switch {
	case c.Snaplen != 0:
	case maxLen == 0:
		c.Snaplen = immediateSnaplen
	case hatype == tpacket.ARPHRDEther || hatype == tpacket.ARPHRDLoopback:
		c.Snaplen = min(maxLen+etherRoom, maxSnaplen)
	case hatype == tpacket.ARPHRDNone || hatype == arphrdRawIP:
		c.Snaplen = min(maxLen, maxSnaplen)
	default: // with a header of who knows how many bytes
		c.Snaplen = immediateSnaplen
	}
}

// version is the ring's.
func (c *Config) version() tpacket.Version {
	if c.Immediate {
		return tpacket.V2
	}
	return tpacket.V3
}

// request is the ring to ask for: at least two blocks, each with room for the
// longest packet that is wanted.
func (c *Config) request() tpacket.Req3 {
	const headers = 128 // of either version, and room to align in
	frame := uint32(tpacket.Align(c.Snaplen + headers))
	least := max(minBlock, uint32(os.Getpagesize()), frame+tpacket.SizeofBlockDesc)
	if c.Immediate {
		least = max(least, minSlots)
	}
	block := uint32(1) << bits.Len32(least-1)
	r := tpacket.Req3{Req: tpacket.Req{BlockSize: block, BlockNr: max(2, uint32(c.Buffer)/block), FrameSize: frame}}
	if c.Immediate {
		r.FrameNr = r.BlockNr * (block / frame)
		return r
	}
	r.FrameNr = r.BlockNr * (block / frame) // looked at, though of no use to blocks
	r.RetireBlkTov = uint32(c.Retire / time.Millisecond)
	if c.Hash {
		r.FeatureReqWord = tpacket.FeatureFillRxhash
	}
	return r
}

// truncated returns prog with at most n bytes of each packet accepted. A nil prog
// accepts every packet.
func truncated(prog []cbpf.Instruction, n int) []cbpf.Instruction {
	if prog == nil {
		return []cbpf.Instruction{{Op: cbpf.OpRetK, K: uint32(n)}}
	}
	prog = slices.Clone(prog)
	for i := range prog {
		if in := &prog[i]; in.Op == cbpf.OpRetK {
			in.K = min(in.K, uint32(n))
		}
	}
	return prog
}

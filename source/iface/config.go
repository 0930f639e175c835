package iface

import (
	"fmt"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/explain"
)

// MaxFanout is the largest number of kernel rings of one Source.
const MaxFanout = 256 // which every kernel's groups have room for (PACKET_FANOUT_MAX)

// maxHeader is an Ethernet header with two tags, in bytes.
const maxHeader = 14 + 2*4

// minSnaplen is the smallest default: the longest IP packet, also where the interface's own
// offloads are off, since the other end of a veth pair may still send segments.
const minSnaplen = 65535 + maxHeader

// maxSnaplen is package capture's.
const maxSnaplen = 262144

// A block is retired every millisecond: at 20,000 packets a second its packets fit into 32
// slots, which a reader with libpcap may have. The kernel's own 8 ms (DEFAULT_PRB_RETIRE_TOV)
// cost 2 to 3 % of a processor less. The buffer holds a quarter of a second of blocks of 128
// KiB.
const (
	defaultRetire = time.Millisecond
	defaultBuffer = 32 << 20
)

// Config configures a Source's kernel rings. The zero value works.
type Config struct {
	Name string // of the interface; "": the device's

	// Immediate delivers each packet at once, from a ring of slots (TPACKET_V2).
	// Otherwise the kernel releases blocks (TPACKET_V3), when one is full or after
	// Retire, which costs less per packet.
	Immediate bool
	Retire    time.Duration // whole milliseconds; 0: 1 ms

	Buffer  int // approximate size of each kernel ring in bytes, not pageable; 0: 32 MiB
	Snaplen int // bytes of each packet, at most 262144; 0: 65557, or more where the interface has longer segments (BIG TCP)

	// Fanout is the number of rings that share the packets, each with a goroutine that
	// delivers, 1 to MaxFanout; 0: 1. Packets keep their order within a ring, so with
	// FanoutHash within a flow.
	Fanout     int
	FanoutMode rxring.FanoutMode // FanoutHash, FanoutCPU, FanoutQM or another that needs no program

	// NoSend refuses what packet sockets send through the device, with EPERM. Otherwise
	// it leaves by the interface.
	NoSend bool

	Hash bool // packets have the kernel's flow hash; not with Immediate

	// Failed is called when the kernel's sockets cannot be opened or set while the device
	// has readers. It must not call the Source's methods. It may be nil.
	Failed func(error)
}

func refuse(field string, value any, want string, args ...any) error {
	return explain.Errorf(syscall.EINVAL, "iface: %s %v: want %s", field, value, fmt.Sprintf(want, args...))
}

// check replaces zero values by defaults. Package capture checks the other fields.
func (c *Config) check(dev *rxring.Device) error {
	if c.Name == "" {
		c.Name = dev.Name()
	}
	if c.Fanout == 0 {
		c.Fanout = 1
	}
	if c.Retire == 0 {
		c.Retire = defaultRetire
	}
	if c.Buffer == 0 {
		c.Buffer = defaultBuffer
	}
	switch {
	case c.Fanout < 0 || c.Fanout > MaxFanout:
		return refuse("Fanout", c.Fanout, "1 to %d rings, or 0 for 1", MaxFanout)
	case c.FanoutMode == rxring.FanoutCBPF || c.FanoutMode == rxring.FanoutEBPF || c.FanoutMode > rxring.FanoutEBPF:
		return refuse("FanoutMode", c.FanoutMode, "one that needs no program: FanoutHash (%d), FanoutCPU (%d), FanoutQM (%d), ...",
			rxring.FanoutHash, rxring.FanoutCPU, rxring.FanoutQM)
	}
	return nil
}

// capture returns the configuration of a kernel ring for an interface whose packets have up
// to maxLen bytes after the link-layer header.
func (c *Config) capture(maxLen int) capture.Config {
	snaplen := c.Snaplen
	if snaplen == 0 {
		snaplen = min(max(minSnaplen, maxLen+maxHeader), maxSnaplen)
	}
	return capture.Config{
		Immediate:  c.Immediate,
		Retire:     c.Retire,
		Buffer:     c.Buffer,
		Snaplen:    snaplen,
		Hash:       c.Hash,
		VnetHeader: true,
	}
}

// Stats counts what a Source has done since Start, over all rings.
type Stats struct {
	Packets uint64 // delivered to the device
	Cut     uint64 // of these, truncated: longer than Snaplen

	// Waited is how long the rings' goroutines have slept, with nothing else to do, until
	// slower readers had room. Only later packets of the same reader are delayed by more
	// than a fraction of a millisecond.
	Waited time.Duration

	// Packets for which the kernel's rings had no room. Sockets on the device count them
	// as dropped, see rxring.Device.Lost.
	Drops   uint64 // packets (tp_drops)
	Freezes uint64 // how often a full ring of blocks was frozen (tp_freeze_q_cnt)

	Sent       uint64 // frames that packet sockets sent and the interface accepted
	SendErrors uint64 // frames that it refused: their senders got an error

	Opens    uint64 // how often the kernel's sockets were opened for a first reader
	Restarts uint64 // how often they were opened again after a failure
	Open     bool   // whether they are open now
	Filtered bool   // whether they run the readers' filter: no reader's socket counts what it rejects
	Err      error  // why they are not open, or not fully set, while the device has readers
}

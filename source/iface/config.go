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

// minSnaplen is what is asked for at least by default: the longest IP packet, also where
// the interface's own offloads are off, since the other end of a veth pair may send
// segments all the same.
const minSnaplen = 65535 + maxHeader

// maxSnaplen is package capture's.
const maxSnaplen = 262144

// Blocks every millisecond: what comes within one, of 20,000 packets a second, fits into
// 32 slots, which a reader on libpcap may have. The kernel's own 8 ms
// (DEFAULT_PRB_RETIRE_TOV) cost 2 to 3 % of a processor less. And memory for a quarter
// of a second of blocks of 128 KiB.
const (
	defaultRetire = time.Millisecond
	defaultBuffer = 32 << 20
)

// Config says what a Source asks of the kernel. The zero value works.
type Config struct {
	Name string // of the interface; "": the device's

	// Immediate hands each packet on at once, from a ring of slots (TPACKET_V2).
	// Otherwise the kernel hands over blocks (TPACKET_V3), when one is full or after
	// Retire: less work a packet.
	Immediate bool
	Retire    time.Duration // whole milliseconds; 0: 1 ms

	Buffer  int // bytes of each kernel ring, about, which the kernel cannot page out; 0: 32 MiB
	Snaplen int // bytes of each packet, at most 262144; 0: 65557, or more where the interface has longer segments (BIG TCP)

	// Fanout is how many rings share the packets, each with a goroutine that
	// delivers, 1 to MaxFanout; 0: 1. Packets keep their order within a ring, so with
	// FanoutHash within a flow.
	Fanout     int
	FanoutMode rxring.FanoutMode // FanoutHash, FanoutCPU, FanoutQM or another that needs no program

	// NoSend has what packet sockets send through the device refused: EPERM. Otherwise
	// it leaves by the interface.
	NoSend bool

	Hash bool // the kernel's flow hash goes with each packet; not with Immediate

	// Failed is told when the kernel's sockets cannot be opened or set though
	// somebody reads. It must not call the Source's methods. nil: nobody is told.
	Failed func(error)
}

func refuse(field string, value any, want string, args ...any) error {
	return explain.Errorf(syscall.EINVAL, "iface: %s %v: want %s", field, value, fmt.Sprintf(want, args...))
}

// check sets what is 0 to what it stands for. The rest is for package capture to
// judge.
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

// capture is the kernel ring to ask for, of an interface with packets of up to maxLen
// bytes behind the link-layer header.
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

// Stats is what a Source has done since Start, of all rings together.
type Stats struct {
	Packets uint64 // delivered to the device
	Cut     uint64 // of these, not whole: longer than Snaplen

	// Waited is how long the rings' goroutines have slept, when there was nothing else to
	// do, until slower readers had room. Only packets that follow for the same reader wait
	// longer than a fraction of a millisecond for it.
	Waited time.Duration

	// What the kernel's rings had no room for. Sockets on the device count it as
	// dropped, see rxring.Device.Lost.
	Drops   uint64 // packets (tp_drops)
	Freezes uint64 // how often a ring of blocks stood still, full (tp_freeze_q_cnt)

	Sent       uint64 // frames that packet sockets sent and the interface took
	SendErrors uint64 // and those that it did not: their senders got an error

	Opens    uint64 // how often the kernel's sockets were opened, because somebody began to read
	Restarts uint64 // and opened again because they had failed
	Open     bool   // they are open now
	Filtered bool   // and run the readers' filter: what it refuses, no reader's socket counts
	Err      error  // why they are not open, or not as they should be, though somebody reads
}

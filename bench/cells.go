package bench

import (
	"fmt"
	"slices"
	"time"

	"github.com/rxring/rxring/internal/ownership"
	"github.com/rxring/rxring/tpacket"
)

// cell is one figure of a table: a contender in one situation.
type cell struct {
	table, row, column string
	run                func(budget time.Duration) (Sample, error)
}

// name is the cell's name in Go's benchmark format and for Config.Only.
func (c cell) name() string { return c.table + "/" + c.row + "/" + c.column }

// Tables.
const (
	pathTable    = "Path"
	largeTable   = "Large"
	writersTable = "Writers"
	unreadTable  = "Unread"
	filterTable  = "Filter"
	drainTable   = "Drain"
	coresTable   = "Cores"
	pollTable    = "Poll"
)

// Rows that others are compared with.
const (
	rowCopy        = "bare copy"
	rowUnwatched   = "rxring, no socket"
	rowDeliver     = "rxring"
	rowStamped     = "rxring, caller's timestamp"
	rowBatch       = "rxring, batch of 32, caller's timestamp"
	rowGranted     = "rxring, with a grant, caller's timestamp"
	rowHash        = "rxring, fanout of 2 by hash, caller's timestamp"
	rowBlocks      = "rxring, V3, caller's timestamp"
	rowGvisor      = "gVisor packetmmap"
	rowSniffer     = "gVisor sniffer, pcap to a pipe"
	rowTAP         = "TAP, tcpdump"
	rowFill        = "Deliver fills the ring"
	rowFillBatches = "DeliverBatch of 32 fills the ring"
	rowFillBlocks  = "V3, Deliver fills the ring"
	rowFillFanout  = "fanout of 2, Deliver fills both rings"
	rowReader      = "Deliver and a reader's goroutine"
	rowReaders     = "fanout of 2, Deliver and two readers' goroutines"
	rowCbpf        = "rxring/cbpf"
	rowXnet        = "golang.org/x/net/bpf"
	rowCapture     = "rxring/capture, V3"
	rowLibpcap     = "libpcap in C, V3"
)

// contender is a way to capture packets that one writer hands over.
type contender struct {
	row   string
	alone bool // only the writer runs while the time is measured
	open  func(size int) (session, error)
}

// stamp is a caller's timestamp.
const stamp = 1_700_000_000_123_456_789

func contenders(tcpPort80 program) []contender {
	rx := func(c deliverConfig) func(int) (session, error) {
		return func(size int) (session, error) { return openDeliver(size, c) }
	}
	return []contender{
		{rowUnwatched, true, openUnwatched},
		{rowCopy, true, openCopy},
		{rowStamped, true, rx(deliverConfig{timestamp: stamp})},
		{rowBatch, true, rx(deliverConfig{timestamp: stamp, batch: 32})},
		{rowDeliver, true, rx(deliverConfig{})},
		{"rxring, filter tcp port 80", true, rx(deliverConfig{filter: tcpPort80.instructions})},
		{rowGranted, true, rx(deliverConfig{timestamp: stamp, granted: true})},
		{rowHash, true, rx(deliverConfig{timestamp: stamp, fanout: 2, flows: 256})},
		{rowBlocks, true, rx(deliverConfig{timestamp: stamp, version: tpacket.V3})},
		{"rxring, reader on a goroutine", false, rx(deliverConfig{reader: true})},
		{"rxring, unmodified tcpdump", false, openInterposed},
		{"Go channel of copies, goroutine", false, openChannel},
		{rowGvisor, true, openGvisorRing},
		{rowSniffer, false, openGvisorSniffer},
		{"TAP", true, func(size int) (session, error) {
			t, err := openTAP(size)
			if err != nil {
				return nil, err // not t: a nil one would be a session
			}
			return t, nil
		}},
		{rowTAP, false, openWatchedTAP},
	}
}

// cells lists everything that is measured, in the order of a round.
func cells() ([]cell, error) {
	programs, err := filterPrograms()
	if err != nil {
		return nil, err
	}
	var all []cell
	for _, size := range Sizes {
		for _, c := range contenders(programs[0]) {
			all = append(all, cell{pathTable, c.row, sizeName(size), func(budget time.Duration) (Sample, error) {
				s, err := c.open(size)
				if err != nil {
					return Sample{}, err
				}
				lap := lapOf(size)
				if c.row == rowUnwatched {
					lap = 1 << 18 // a ring's would take no longer than a look at the clock
				}
				return measure(s, lap, size, c.alone, budget)
			}})
		}
	}
	all = append(all, largeCells()...)
	for _, size := range Sizes {
		for _, writers := range Writers {
			add := func(table, row string, run func(budget time.Duration) (Sample, error)) {
				all = append(all, cell{table, writersRow(size, row), writersColumn(writers), run})
			}
			for _, d := range compared() {
				add(writersTable, fillsName(d), func(budget time.Duration) (Sample, error) {
					return bareBurst(d, writers, size, budget)
				})
			}
			for _, b := range bursts {
				add(writersTable, b.row, func(budget time.Duration) (Sample, error) {
					return burst(writers, size, b.config, budget)
				})
			}
			for _, r := range readers {
				add(writersTable, r.row, func(budget time.Duration) (Sample, error) {
					return deliverers(writers, size, r.fanout, budget)
				})
			}
			for _, d := range ownership.Designs() {
				add(unreadTable, d.String(), func(budget time.Duration) (Sample, error) {
					return owners(d, writers, size, false, budget)
				})
			}
			for _, d := range compared() {
				add(unreadTable, yieldingName(d), func(budget time.Duration) (Sample, error) {
					return owners(d, writers, size, true, budget)
				})
			}
		}
	}
	for _, p := range programs {
		all = append(all,
			cell{filterTable, rowCbpf, p.name, func(budget time.Duration) (Sample, error) { return filter(rxringMachine, p, budget) }},
			cell{filterTable, rowXnet, p.name, func(budget time.Duration) (Sample, error) { return filter(xnetMachine, p, budget) }},
		)
	}
	return slices.Concat(all, drainCells(), pollCells(), coreCells()), nil
}

// bursts are the ways to fill a ring together.
var bursts = []struct {
	row    string
	config deliverConfig
}{
	{rowFill, deliverConfig{}},
	{rowFillBatches, deliverConfig{batch: 32}},
	{rowFillBlocks, deliverConfig{version: tpacket.V3}},
	{rowFillFanout, deliverConfig{fanout: 2}},
}

// readers are the ways to read a device side by side with its writers.
var readers = []struct {
	row    string
	fanout int
}{
	{rowReader, 0},
	{rowReaders, 2},
}

// compared are the designs also measured with a reader, and with writers that
// yield after a drop: ours and Linux's.
func compared() []ownership.Design { return []ownership.Design{ownership.Ticket, ownership.OwnerMap} }

func fillsName(d ownership.Design) string { return d.String() + " fills the ring" }

func yieldingName(d ownership.Design) string { return d.String() + ", yield after a drop" }

func writersRow(size int, name string) string { return sizeName(size) + ", " + name }

func writersColumn(n int) string {
	if n == 1 {
		return "1 writer"
	}
	return fmt.Sprintf("%d writers", n)
}

package bench

import (
	"fmt"
	"math"

	"github.com/rxring/rxring/internal/ownership"
)

// budget is what a path may cost.
type budget struct {
	what  string
	of    []string // the names of the cells and floods that it is computed from
	limit float64
	unit  string
	least bool // the limit is the least that is allowed, not the most
	value func(r *Report) (v float64, ok bool)
}

// Rows of floods that others are compared with.
const (
	rowTcpdump = "tcpdump on the kernel"
	rowServed  = "tcpdump through rxring serve"
	rowServed8 = "8 tcpdumps through rxring serve"
)

// budgets are the design's, path by path.
func budgets() []budget {
	path := func(row string, size int) string {
		return cell{table: pathTable, row: row, column: sizeName(size)}.name()
	}
	ns := func(what, name string, limit float64) budget {
		return budget{what, []string{name}, limit, " ns", false, func(r *Report) (float64, bool) {
			f, ok := r.figures[name]
			return f.Ns, ok
		}}
	}
	// ratio is the time of one cell divided by that of another.
	ratio := func(what, name, base string, limit float64, least bool) budget {
		return budget{what, []string{name, base}, limit, " ×", least, func(r *Report) (float64, bool) {
			f, ok := r.figures[name]
			b, ok2 := r.figures[base]
			return f.Ns / b.Ns, ok && ok2
		}}
	}
	cpu := func(what, row, base string, limit float64) budget {
		return budget{what, []string{floodName(row), floodName(base)}, limit, " ×", false, func(r *Report) (float64, bool) {
			a, ok := r.floodCPU(row)
			b, ok2 := r.floodCPU(base)
			return a / b, ok && ok2
		}}
	}
	all := []budget{
		ns("Deliver, no socket", path(rowUnwatched, 64), 0.5),
		ns("Deliver 64 B, caller's timestamp", path(rowStamped, 64), 20),
		ns("Deliver 64 B, own timestamp", path(rowDeliver, 64), 33),
		ns("batch of 32, 64 B", path(rowBatch, 64), 11),
		{"Deliver 1500 B, more than the bare copy", []string{path(rowStamped, 1500), path(rowCopy, 1500)}, 14, " ns", false, func(r *Report) (float64, bool) {
			f, ok := r.figures[path(rowStamped, 1500)]
			b, ok2 := r.figures[path(rowCopy, 1500)]
			return f.Ns - b.Ns, ok && ok2
		}},
		ns("Deliver 64 B with a grant", path(rowGranted, 64), 30),
		ns("Deliver 64 B, fanout by hash", path(rowHash, 64), 38),
		ns("Deliver 64 B, V3", path(rowBlocks, 64), 22),
		ratio("reading a kernel ring, V3, against libpcap in C", drainCell(rowCapture), drainCell(rowLibpcap), 1, false),
		cpu("tcpdump through rxring serve, against the kernel", rowServed, rowTcpdump, 2.5),
		cpu("8 tcpdumps through rxring serve, against one", rowServed8, rowServed, 4),
		{"a trapped poll, attached", []string{pollCell(rowPollAttached)}, 15, " µs", false, func(r *Report) (float64, bool) {
			f, ok := r.figures[pollCell(rowPollAttached)]
			return f.Ns / 1000, ok
		}},
		ratio("64 KiB, ring larger than the cache, against the bare copy into it", largeCell(rowStamped), largeCell(rowCopy), 1.3, false),
	}
	for _, size := range Sizes {
		for _, row := range []string{rowFill, rowFillBatches, fillsName(ownership.Ticket)} {
			row := writersRow(size, row)
			all = append(all, budget{
				what:  "two writers against one, " + row,
				of:    []string{writersCell(row, 1), writersCell(row, 2)},
				limit: 1, unit: " ×", least: true,
				value: func(r *Report) (float64, bool) { return r.againstOne(writersTable, row, 2) },
			})
		}
	}
	all = append(all,
		ratio("tcp port 80, times as fast as golang.org/x/net/bpf", filterCell(rowXnet, "tcp port 80"), filterCell(rowCbpf, "tcp port 80"), 7, true),
		ratio("64 B, times as fast as gVisor packetmmap", path(rowGvisor, 64), path(rowStamped, 64), 16, true),
		ratio("64 B, times as fast as TAP, tcpdump", path(rowTAP, 64), path(rowStamped, 64), 50, true),
		ratio("64 B, times as fast as gVisor's sniffer into a pipe", path(rowSniffer, 64), path(rowStamped, 64), 36, true),
	)
	for _, row := range []string{rowStamped, rowDeliver, rowBatch, rowGranted, rowHash, rowBlocks} {
		name := path(row, 64)
		all = append(all, budget{"allocations, 64 B, " + row, []string{name}, 0, "", false, func(r *Report) (float64, bool) {
			f, ok := r.figures[name]
			return math.Round(f.Allocs*10) / 10, ok
		}})
	}
	return all
}

// budgetTable compares the figures with the budgets. It leaves out a budget whose cells were not asked
// for, and says which could not be measured.
func (r *Report) budgetTable() table {
	t := table{title: "Budgets", head: []string{"", "measured", "budget", ""}}
	for _, b := range budgets() {
		v, ok := b.value(r)
		measured, verdict := number(v)+b.unit, b.verdict(v)
		if !ok {
			if !r.wanted(b.of) {
				continue
			}
			measured, verdict = "-", "not measured"
		}
		t.rows = append(t.rows, []string{b.what, measured, number(b.limit) + b.unit, verdict})
	}
	return t
}

func (b budget) verdict(v float64) string {
	switch {
	case !b.least && v > b.limit:
		if b.limit == 0 {
			return "missed"
		}
		return fmt.Sprintf("missed: %.2f × the budget", v/b.limit)
	case b.least && v < b.limit:
		return fmt.Sprintf("missed: %.2f of the budget", v/b.limit)
	}
	return "met"
}

// wanted reports whether the run was to measure all of names.
func (r *Report) wanted(names []string) bool {
	for _, name := range names {
		if r.Config.Only != nil && !r.Config.Only.MatchString(name) {
			return false
		}
	}
	return true
}

func drainCell(row string) string {
	return cell{table: drainTable, row: row, column: sizeName(drainSize)}.name()
}

func largeCell(row string) string {
	return cell{table: largeTable, row: row, column: sizeName(65536)}.name()
}

func pollCell(row string) string {
	return cell{table: pollTable, row: row, column: pollColumn}.name()
}

func filterCell(row, column string) string {
	return cell{table: filterTable, row: row, column: column}.name()
}

func writersCell(row string, writers int) string {
	return cell{table: writersTable, row: row, column: writersColumn(writers)}.name()
}

func floodName(row string) string { return flooded{row: row}.name() }

// floodCPU is the readers' time for a packet, where no packet was lost.
func (r *Report) floodCPU(row string) (ns float64, ok bool) {
	for _, f := range r.floods {
		if f.row == row && f.skipped == "" && f.cpu > 0 {
			return f.cpu, true
		}
	}
	return 0, false
}

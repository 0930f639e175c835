package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rxring/rxring/internal/ownership"
)

// table is what is printed: rows of text under a head.
type table struct {
	title string
	notes []string
	head  []string
	rows  [][]string
}

// Text writes the report for a terminal.
func (r *Report) Text(w io.Writer) {
	fmt.Fprintf(w, "%s\n", r.where())
	for _, t := range r.tables() {
		fmt.Fprintln(w)
		t.write(w)
	}
}

// write writes the table with its title and notes, for a terminal.
func (t *table) write(w io.Writer) {
	fmt.Fprintln(w, t.title)
	t.text(w)
	for _, n := range t.notes {
		fmt.Fprintf(w, "  %s\n", n)
	}
}

// Markdown writes it for docs/benchmarks.md. command is what was run.
func (r *Report) Markdown(w io.Writer, command string) {
	fmt.Fprintf(w, "%s\n\n    %s\n", r.where(), command)
	for _, t := range r.tables() {
		fmt.Fprintf(w, "\n## %s\n\n", t.title)
		t.markdown(w)
		for _, n := range t.notes {
			fmt.Fprintf(w, "\n%s\n", n)
		}
	}
}

func (r *Report) where() string {
	return fmt.Sprintf("%s, %s, %s, %d cores (load %s before), %s. Medians of %d round(s), %v a sample, %.0f s in all.",
		r.Start.Format("2006-01-02"), r.Machine.Kernel, r.Machine.CPU, r.Machine.Cores, r.Machine.Load, r.Machine.Go,
		r.Config.Rounds, r.Config.Budget, r.Took.Seconds())
}

func (t *table) text(w io.Writer) {
	width := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, s := range row {
			width[i] = max(width[i], utf8.RuneCountInString(s))
		}
	}
	for _, row := range append([][]string{t.head}, t.rows...) {
		var b strings.Builder
		for i, s := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(s))
			if i == 0 {
				b.WriteString(s + pad)
			} else {
				b.WriteString("  " + pad + s)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

func (t *table) markdown(w io.Writer) {
	line := func(cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	line(t.head)
	fmt.Fprintf(w, "|---|%s\n", strings.Repeat("---:|", len(t.head)-1))
	for _, row := range t.rows {
		line(row)
	}
}

// tables is everything that was measured, without what was not asked for.
func (r *Report) tables() (all []table) {
	path := r.grid(pathTable, "One writer, the whole path", rowDeliver, true)
	path.notes = []string{
		"ns: the writer's time per packet, captured or dropped; ×: its ratio to the row rxring; ok: the share of packets captured; M/s: millions captured per second; allocs: allocations per packet, the maximum over the sizes.",
		"The writer never pauses. The same thread empties a ring (rxring, gVisor packetmmap) off the clock before it is full, unless the row names a reader: then reader and writer run in parallel, and packets that the reader is too slow for are dropped, or the writer waits (pipe).",
		"Every row reads the clock for each packet, except those with a caller's timestamp, the bare copy, the channel and the plain TAP. gVisor's rows start from an existing PacketBuffer.",
	}
	writers := r.grid(writersTable, "Writers on one ring with a reader, million packets accepted a second", fillsName(ownership.Ticket), false)
	writers.notes = []string{
		"M/s: millions of packets accepted a second; ×: against the bare ring of the default design, " + fillsName(ownership.Ticket) + "; ok: the share of offered packets that was accepted; 2+/1: the lowest ratio of two, four or eight writers to one, each the median of the rounds' ratios.",
		"In the rows that fill the ring, a reader on its own thread empties it off the clock, so nothing is dropped. The reader has read header and packet before it hands a slot back. Threads are pinned: the writers to the first cores, the reader to the last. So a single writer finds each slot in another core's cache, as beside any reader. With two writers on two cores, one shares the reader's core and finds half of the slots in its own cache, which three cores would not allow. Each writer writes its share of a lap; a lap ends with the last writer. Samples with at most as many writers as cores are those of the median lap; more writers than cores run as goroutines. On a busy machine the reader's cache is evicted and a single writer looks faster than it is: measure on a quiet one. All but the bare rings use the whole path, with one clock reading per packet or batch.",
		"In the last two rows of each size the readers read at the same time, on goroutines: one socket, and two in a fanout group by CPU, with one CPU number per writer.",
	}
	unread := r.grid(unreadTable, "Writers on one ring without a reader, the worst case for a second writer, million packets accepted a second", ownership.Ticket.String(), false)
	unread.notes = []string{
		"Columns as above; ×: ratio to the default design, " + ownership.Ticket.String() + ". A slot is free again as soon as it is released. So a single writer keeps head and slots in its own cache, which never happens beside a reader, and a second writer takes them away. This table compares designs; no ring is used like this.",
		"The designs unguarded, release-before and release-after-plain tear packets; docs/ownership.md says what else is wrong with a design.",
		"Each writer continues at once, even after a drop, except in the rows that yield. A packet is dropped when the writer of the head slot was preempted before it released the slot.",
	}
	for _, c := range r.cells {
		if why := r.skipped[c.name()]; why != "" {
			path.notes = append(path.notes, fmt.Sprintf("NOT MEASURED: %s, %s: %s", c.row, c.column, why))
		}
	}
	filters := r.grid(filterTable, "Classic BPF, libpcap's programs", rowCbpf, true)
	drain := r.grid(drainTable, "Reading a kernel ring that holds a million packets", rowCapture, true)
	drain.notes = []string{
		"ns: the reader's CPU time per packet, in user space and in the kernel; ×: its ratio to the first row. The packets come from a TAP device and are all in the ring before the reader starts. mdlayher/packet has no ring: they are in its socket's queue. libpcap's reader is a separate program, whose allocations are not counted.",
	}
	large := r.grid(largeTable, "64 KiB packets, a ring of 512 MiB", rowCopy, true)
	large.notes = []string{
		"The ring is larger than the processor's caches. Columns as in the first table; ×: ratio to the bare copy into a ring of the same size.",
	}
	cores := r.grid(coresTable, "What cores cost each other", rowLocked, true)
	cores.notes = []string{"docs/scaling.md predicts from these what more cores would do."}
	polls := r.grid(pollTable, "A poll of a packet socket on which nothing arrives", rowPollKernel, true)
	polls.notes = []string{"ns: the time of poll(2) with a timeout of 0, in an unmodified program with a V2 ring; ×: against the kernel."}
	for _, t := range []table{path, large, writers, unread, filters, drain, polls, cores, r.floodTable(), r.fleetGrid(), r.budgetTable(), r.comparison()} {
		if len(t.rows) > 0 {
			all = append(all, t)
		}
	}
	return all
}

// comparison is with the older run, if there is one.
func (r *Report) comparison() table {
	if r.Config.Against == nil {
		return table{}
	}
	c := compare(r.Config.Against, r.Figures())
	return c.table()
}

// grid lays the cells of one table out in rows and columns. Ratios are to the
// row that ends in base.
func (r *Report) grid(name, title, base string, ns bool) table {
	t := table{title: title}
	var rows, columns []string
	for _, c := range r.cells {
		if c.table == name {
			if !slices.Contains(rows, c.row) {
				rows = append(rows, c.row)
			}
			if !slices.Contains(columns, c.column) {
				columns = append(columns, c.column)
			}
		}
	}
	at := func(row, column string) (Figure, bool) {
		f, ok := r.figures[cell{table: name, row: row, column: column}.name()]
		return f, ok
	}
	t.head = []string{""}
	for _, c := range columns {
		switch name {
		case pathTable, largeTable:
			t.head = append(t.head, c+": ns", "×", "ok", "M/s")
		case writersTable, unreadTable:
			t.head = append(t.head, c+": M/s", "×", "ok")
		case filterTable, drainTable, coresTable, pollTable:
			t.head = append(t.head, c+": ns", "×")
		}
	}
	switch name {
	case pathTable, largeTable, drainTable:
		t.head = append(t.head, "allocs")
	case writersTable, unreadTable:
		t.head = append(t.head, "2+/1", "allocs")
	}
	for _, row := range rows {
		baseRow := base
		if size, _, ok := strings.Cut(row, ", "); ok && (name == writersTable || name == unreadTable) {
			baseRow = size + ", " + base
		}
		line := []string{row}
		allocs := 0.0
		for _, c := range columns {
			f, ok := at(row, c)
			b, hasBase := at(baseRow, c)
			var value, ratio string
			switch {
			case !ok:
				value = "-"
			case ns:
				value, ratio = number(f.Ns), number(f.Ns/b.Ns)
			default:
				value, ratio = number(f.Rate/1e6), number(f.Rate/b.Rate)
			}
			if !hasBase {
				ratio = ""
			}
			line = append(line, value, ratio)
			allocs = max(allocs, f.Allocs)
			if name == filterTable || name == drainTable || name == coresTable || name == pollTable {
				continue
			}
			share := ""
			if ok && row != rowUnwatched {
				share = shareText(f.Share)
			}
			line = append(line, share)
			if name == pathTable || name == largeTable {
				rate := ""
				if share != "" {
					rate = number(f.Rate / 1e6)
				}
				line = append(line, rate)
			}
		}
		switch name {
		case pathTable, largeTable, drainTable:
			line = append(line, allocsText(allocs))
		case writersTable, unreadTable:
			worst := ""
			if v, ok := r.worstOfMany(name, row); ok {
				worst = number(v)
			}
			line = append(line, worst, allocsText(allocs))
		}
		t.rows = append(t.rows, line)
	}
	return t
}

// worstOfMany is the lowest ratio of the packets that two or more writers got into the ring to those
// of one writer.
func (r *Report) worstOfMany(table, row string) (ratio float64, ok bool) {
	ratio = math.Inf(1)
	for _, n := range Writers[1:] {
		v, ok := r.againstOne(table, row, n)
		if !ok {
			return 0, false
		}
		ratio = min(ratio, v)
	}
	return ratio, true
}

// againstOne is the ratio of the packets that so many writers got into the ring to those of one,
// the median of the rounds' ratios. Within a round both are measured one after the other; from round
// to round the machine may change, for instance where a hypervisor places its cores.
func (r *Report) againstOne(table, row string, writers int) (ratio float64, ok bool) {
	one := r.samples[cell{table: table, row: row, column: writersColumn(1)}.name()]
	many := r.samples[cell{table: table, row: row, column: writersColumn(writers)}.name()]
	if len(one) == 0 || len(one) != len(many) {
		return 0, false
	}
	ratios := make([]float64, len(one))
	for i := range one {
		ratios[i] = many[i].Rate() / one[i].Rate()
	}
	return middle(ratios), true
}

// number formats v with three significant digits.
func number(v float64) string {
	switch {
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// allocsText rounds away the runtime's own occasional allocations.
func allocsText(v float64) string {
	if v < 0.05 {
		return "0"
	}
	return fmt.Sprintf("%.2g", v)
}

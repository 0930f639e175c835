package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rxring/rxring/ring"
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
		fmt.Fprintf(w, "\n%s\n", t.title)
		t.text(w)
		for _, n := range t.notes {
			fmt.Fprintf(w, "  %s\n", n)
		}
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
		"ns: the writer's time for a packet, kept or dropped; ×: that against the row rxring; ok: share of the packets that was kept; M/s: millions kept in a second; allocs: a packet, the most of the sizes.",
		"The writer never pauses. A ring (rxring, gVisor packetmmap) is emptied off the clock before it is full, by the same thread, unless the row names a reader: then reader and writer run side by side, and what the reader cannot take is dropped, or the writer waits (pipe).",
		"All but the rows with a caller's timestamp, the bare copy, the channel and the plain TAP read the clock for each packet. gVisor's contenders get a PacketBuffer that is made already.",
	}
	writers := r.grid(writersTable, "Writers on one ring with a reader, million packets accepted a second", fillsName(ring.DefaultDesign), false)
	writers.notes = []string{
		"M/s: millions of packets accepted a second; ×: against the bare ring of the default design, " + fillsName(ring.DefaultDesign) + "; ok: share of the packets offered that was accepted; 2+/1: the worst of two and more writers against one, each the median of the rounds' ratios.",
		"In the rows that fill the ring, a reader on a thread of its own empties it off the clock, so nothing is dropped. It has read header and packet when it hands a slot back. Threads are pinned: writers to the first cores, the reader to the last, so that a single writer finds each slot in another core's cache, as he does beside any reader; of two writers on two cores one shares his with the reader, so that half of the slots come to who has them already, which three cores would not give him. Each writer has his share of a lap; a lap is over when the last one is done. Samples of up to as many writers as cores are of the median lap. More writers than cores are goroutines. On a machine with other work the reader's cache does not stay his, and a single writer looks better than he is: measure on a quiet one. All but the bare rings go the whole path with a clock reading for each packet, or each batch.",
		"In the last two rows of a size the readers read at the same time, on goroutines: of one socket, and of two in a fanout group, where each writer is another CPU.",
	}
	unread := r.grid(unreadTable, "Writers on one ring that nobody reads, the worst case for a second one, million packets accepted a second", ring.DefaultDesign.String(), false)
	unread.notes = []string{
		"Columns as above; ×: against the default design, " + ring.DefaultDesign.String() + ". A slot is free again as soon as it is released. So a single writer keeps head and slots in his own cache for good, which he never does beside a reader, and a second one takes them away: this compares designs, and is no use of a ring.",
		"What unguarded, release-before and release-after-plain accept is not always one writer's packet; package ring says what else is wrong with a design.",
		"Each writer goes on at once, also after a drop, but in the rows that yield. Packets are dropped because the head slot's writer was preempted before it had finished.",
	}
	for _, c := range r.cells {
		if why := r.skipped[c.name()]; why != "" {
			path.notes = append(path.notes, fmt.Sprintf("NOT MEASURED: %s, %s: %s", c.row, c.column, why))
		}
	}
	filters := r.grid(filterTable, "Classic BPF, libpcap's programs", rowCbpf, true)
	drain := r.grid(drainTable, "Reading a kernel ring that a million packets are in", rowCapture, true)
	drain.notes = []string{
		"ns: the reader's CPU time for a packet, in user space and in the kernel; ×: that against the first row. The packets come off a TAP device and are all there before the reader begins. mdlayher/packet has no ring: they lie in its socket's queue. libpcap's reader is a program of its own, whose allocations are not counted.",
	}
	for _, t := range []table{path, writers, unread, filters, drain, r.floodTable(), r.budgets()} {
		if len(t.rows) > 0 {
			all = append(all, t)
		}
	}
	return all
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
		case pathTable:
			t.head = append(t.head, c+": ns", "×", "ok", "M/s")
		case writersTable, unreadTable:
			t.head = append(t.head, c+": M/s", "×", "ok")
		case filterTable, drainTable:
			t.head = append(t.head, c+": ns", "×")
		}
	}
	switch name {
	case pathTable, drainTable:
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
			if name == filterTable || name == drainTable {
				continue
			}
			share := ""
			if ok && row != rowUnwatched {
				share = shareText(f.Share)
			}
			line = append(line, share)
			if name == pathTable {
				rate := ""
				if share != "" {
					rate = number(f.Rate / 1e6)
				}
				line = append(line, rate)
			}
		}
		switch name {
		case pathTable, drainTable:
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

// worstOfMany is the packets that two or more writers have accepted against
// those of one.
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

// againstOne is the packets that so many writers have accepted against those of
// one, the median of the rounds' ratios: within a round they are measured one after
// the other, while from round to round the machine may change (where a hypervisor
// has its cores, for one).
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

// number has three digits that matter.
func number(v float64) string {
	switch {
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// allocsText leaves out the odd allocation that the runtime makes for itself.
func allocsText(v float64) string {
	if v < 0.05 {
		return "0"
	}
	return fmt.Sprintf("%.2g", v)
}

// budgets compares with what the design promises (its section 7).
func (r *Report) budgets() table {
	t := table{title: "Budgets", head: []string{"", "measured", "budget", ""}}
	ns := func(row string, size int) (float64, bool) {
		f, ok := r.figures[cell{table: pathTable, row: row, column: sizeName(size)}.name()]
		return f.Ns, ok
	}
	add := func(what string, measured float64, ok bool, budget float64, least bool, unit string) {
		if !ok {
			return
		}
		verdict := "met"
		switch {
		case !least && measured > budget:
			verdict = fmt.Sprintf("missed: %.2f × the budget", measured/budget)
		case least && measured < budget:
			verdict = fmt.Sprintf("missed: %.2f of the budget", measured/budget)
		}
		t.rows = append(t.rows, []string{what, number(measured) + unit, number(budget) + unit, verdict})
	}
	v, ok := ns(rowUnwatched, 64)
	add("Deliver, no socket", v, ok, 2, false, " ns")
	v, ok = ns(rowStamped, 64)
	add("Deliver 64 B, caller's timestamp", v, ok, 35, false, " ns")
	v, ok = ns(rowDeliver, 64)
	add("Deliver 64 B, own timestamp", v, ok, 60, false, " ns")
	v, ok = ns(rowStamped, 1500)
	c, ok2 := ns(rowCopy, 1500)
	add("Deliver 1500 B, caller's timestamp, against the bare copy", v/c, ok && ok2, 1.3, false, " ×")
	v, ok = ns(rowBatch, 64)
	add("batch of 32, 64 B", v, ok, 15, false, " ns")
	f, ok := r.figures[cell{table: pathTable, row: rowStamped, column: sizeName(64)}.name()]
	add("allocations, Deliver 64 B", math.Round(f.Allocs*10)/10, ok, 0, false, "")
	for _, size := range Sizes {
		for _, row := range []string{rowFill, rowFillBatches, fillsName(ring.DefaultDesign)} {
			v, ok := r.againstOne(writersTable, writersRow(size, row), 2)
			add(fmt.Sprintf("two writers against one, %s, %s", sizeName(size), row), v, ok, 1, true, " ×")
		}
	}
	fx, ok := r.figures[cell{table: filterTable, row: "golang.org/x/net/bpf", column: "tcp port 80"}.name()]
	fr, ok2 := r.figures[cell{table: filterTable, row: rowCbpf, column: "tcp port 80"}.name()]
	add("tcp port 80, times as fast as golang.org/x/net/bpf", fx.Ns/fr.Ns, ok && ok2, 5, true, " ×")
	return t
}

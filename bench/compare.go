package bench

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"golang.org/x/perf/benchmath"
)

// release has the figures of the last release: CONTRIBUTING.md says how they are made.
//
//go:embed release.json
var release []byte

// Release returns the figures of the last release.
func Release() (*Figures, error) { return ReadFigures(bytes.NewReader(release)) }

// sameCopy is how much the bare copy may differ on what is one machine.
const sameCopy = 0.05

// comparison is a run beside an older one.
type comparison struct {
	before, after *Figures
	relative      bool // in bare copies, not in nanoseconds
}

// compare compares nanoseconds if both runs are of one machine that copies as fast as before. If not,
// it compares multiples of the bare copy of the same size in the same round.
func compare(before, after *Figures) comparison {
	c := comparison{before: before, after: after}
	if before.Machine.CPU != after.Machine.CPU || before.Machine.Cores != after.Machine.Cores {
		c.relative = true
	}
	for _, size := range Sizes {
		b, ok := before.cell(copyOf(sizeName(size)))
		a, ok2 := after.cell(copyOf(sizeName(size)))
		if ok && ok2 && math.Abs(a.Median/b.Median-1) > sameCopy {
			c.relative = true
		}
	}
	return c
}

func copyOf(size string) string { return cell{table: pathTable, row: rowCopy, column: size}.name() }

// sizeOf is the size of a cell's packets, by its name. Cells without one are compared with the smallest.
func sizeOf(name string) string {
	for _, size := range slices.Backward(Sizes) {
		if strings.Contains(name, "/"+sizeName(size)) {
			return sizeName(size)
		}
	}
	return sizeName(Sizes[0])
}

// samples are those of a cell, in the unit of the comparison. There are none if that is unknown.
func (c *comparison) samples(f *Figures, cell CellFigures) []float64 {
	if !c.relative {
		return slices.Clone(cell.Samples)
	}
	base, ok := f.cell(copyOf(sizeOf(cell.Name)))
	if !ok {
		return nil
	}
	var all []float64
	for i, v := range cell.Samples {
		copied := base.Median
		if len(base.Samples) == len(cell.Samples) {
			copied = base.Samples[i] // of the same round
		}
		all = append(all, v/copied)
	}
	return all
}

// change is what became of a cell.
type change struct {
	name          string
	before, after float64 // medians
	test          benchmath.Comparison
}

// significant reports whether the two samples differ by more than chance.
func (c change) significant() bool { return c.test.P <= c.test.Alpha }

// tooFew reports whether there are too few samples on a side for the test to find any difference.
func (c change) tooFew() bool { return min(c.test.N1, c.test.N2) < 4 }

// beyond reports whether the medians differ by more than the tolerance.
func (c change) beyond() bool { return math.Abs(c.ratio()-1) > tolerance }

// ratio is the new time divided by the old.
func (c change) ratio() float64 { return c.after / c.before }

// changes are those of the cells that both runs have.
func (c *comparison) changes() (all []change) {
	for _, a := range c.after.Cells {
		b, ok := c.before.cell(a.Name)
		if !ok {
			continue
		}
		before, after := c.samples(c.before, b), c.samples(c.after, a)
		if len(before) == 0 || len(after) == 0 || c.relative && a.Name == copyOf(sizeOf(a.Name)) {
			continue
		}
		x := benchmath.NewSample(before, &benchmath.DefaultThresholds)
		y := benchmath.NewSample(after, &benchmath.DefaultThresholds)
		all = append(all, change{a.Name, medianOf(before), medianOf(after), benchmath.AssumeNothing.Compare(x, y)})
	}
	return all
}

// tolerance is how much slower a row may be without being counted as slower.
const tolerance = 0.02

// table shows the cells that changed by more than the tolerance, and each table's mean.
func (c *comparison) table() table {
	unit := "ns"
	if c.relative {
		unit = "copies"
	}
	t := table{title: "Compared with " + c.before.name(), head: []string{"", "before: " + unit, "now", "change", ""}}
	all := c.changes()
	if len(all) == 0 {
		return t
	}
	logs := make(map[string][]float64) // of the ratios, by table
	var tables []string
	slower, faster := 0, 0
	for _, ch := range all {
		group, _, _ := strings.Cut(ch.name, "/")
		if logs[group] == nil {
			tables = append(tables, group)
		}
		logs[group] = append(logs[group], math.Log(ch.ratio()))
		if !ch.beyond() || !ch.significant() && !ch.tooFew() {
			continue
		}
		test := ch.test.String()
		switch {
		case ch.tooFew():
			test = fmt.Sprintf("too few samples: %d and %d", ch.test.N1, ch.test.N2)
		case ch.ratio() > 1:
			slower++
		default:
			faster++
		}
		t.rows = append(t.rows, []string{ch.name, number(ch.before), number(ch.after), percent(ch.ratio()), test})
	}
	for _, group := range tables {
		sum := 0.0
		for _, v := range logs[group] {
			sum += v
		}
		mean := math.Exp(sum / float64(len(logs[group])))
		t.rows = append(t.rows, []string{group + ", geometric mean of " + fmt.Sprint(len(logs[group])), "", "", percent(mean), ""})
	}
	t.notes = []string{fmt.Sprintf("%d rows of both runs: %d slower and %d faster by more than %.0f %% (Mann-Whitney U test, p ≤ %.2f). Other rows are not shown, except those with too few samples for the test.",
		len(all), slower, faster, 100*tolerance, benchmath.DefaultThresholds.CompareAlpha)}
	if c.relative {
		t.notes = append(t.notes, "The machine is another one, or copies at another speed: each sample is divided by the bare copy of the same packet size and round.")
	}
	return t
}

// Compare writes what has changed between two runs.
func Compare(w io.Writer, before, after *Figures) {
	c := compare(before, after)
	t := c.table()
	t.write(w)
}

func percent(ratio float64) string { return fmt.Sprintf("%+.1f%%", 100*(ratio-1)) }

// name is the version, if it is known, and the day.
func (f *Figures) name() string {
	if f.Version == "" {
		return "the figures of " + f.Date
	}
	return f.Version + " (" + f.Date + ")"
}

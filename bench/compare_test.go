package bench

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

func cellsOf(samples map[string][]float64) (all []CellFigures) {
	for name, s := range samples {
		all = append(all, cellFigures(name, s, Figure{}))
	}
	return all
}

const someCell, someRate = "Path/rxring/64 B", "Writers/64 B, Deliver fills the ring/2 writers"

func TestFiguresAreReadAsWritten(t *testing.T) {
	r := &Report{
		Config: Config{Budget: time.Second},
		Start:  time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC),
		cells:  []cell{{table: pathTable, row: "rxring", column: "64 B"}, {table: writersTable, row: "64 B, ticket", column: "2 writers"}, {table: pathTable, row: "TAP", column: "64 B"}},
		samples: map[string][]Sample{
			someCell:                         {{Elapsed: 3000, Offered: 100, Accepted: 50}, {Elapsed: 2000, Offered: 100, Accepted: 50}},
			"Writers/64 B, ticket/2 writers": {{Elapsed: 3000, Offered: 200, Accepted: 100}},
		},
		figures: map[string]Figure{someCell: {Share: 0.5}},
		skipped: map[string]string{"Path/TAP/64 B": "no TAP"},
		floods:  []flood{{row: "tcpdump on the kernel", cpu: 60, kept: 1}, {row: "skipped", skipped: "no root"}},
		trials:  map[string][]trial{"tcpdump on the kernel": {{cpu: 6000, read: 100, readers: 1}}},
	}
	var b bytes.Buffer
	if err := r.Figures().Write(&b); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFigures(&b)
	if err != nil {
		t.Fatal(err)
	}
	want := []CellFigures{
		{Name: someCell, Median: 25, Samples: []float64{30, 20}, Share: 0.5},
		{Name: "Writers/64 B, ticket/2 writers", Median: 30, Samples: []float64{30}}, // a packet accepted
		{Name: "Flood/tcpdump on the kernel/64 B", Median: 60, Samples: []float64{60}, Share: 1},
	}
	if !reflect.DeepEqual(got.Cells, want) || got.Date != "2026-11-28" {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

func TestFiguresThatAreNoneAreRefused(t *testing.T) {
	for _, text := range []string{"", "{}", `{"cells":[{"name":"x"}]}`, `{"cells":[{"name":"x","samples":[0]}]}`, `{"cells":[{"name":"x","samples":[-1]}]}`} {
		if f, err := ReadFigures(strings.NewReader(text)); err == nil {
			t.Errorf("%q: %+v, want an error", text, f)
		}
	}
}

func TestFiguresOfTheLastReleaseAreOfCellsThatAreMeasured(t *testing.T) {
	f, err := Release()
	if err != nil {
		t.Fatal(err)
	}
	all, err := cells()
	if err != nil {
		t.Fatal(err)
	}
	missing := 0
	for _, c := range all {
		if _, ok := f.cell(c.name()); !ok {
			missing++
		}
	}
	if missing*4 > len(all) {
		t.Errorf("%d of %d cells are not in release.json: want new ones only", missing, len(all))
	}
}

// times returns five samples of about ns.
func times(ns float64) []float64 {
	return []float64{ns, ns * 1.003, ns * 0.998, ns * 1.001, ns * 0.999}
}

func TestChangeIsFoundAndNoiseIsNot(t *testing.T) {
	before := &Figures{Cells: cellsOf(map[string][]float64{copyOf("64 B"): times(2), someCell: times(70), someRate: times(50), "Path/gone/64 B": times(1)})}
	after := &Figures{Cells: cellsOf(map[string][]float64{copyOf("64 B"): times(2), someCell: times(33), someRate: times(53), "Path/new/64 B": times(1)})}
	c := compare(before, after)
	if c.relative {
		t.Error("one machine that copies as fast as before: want nanoseconds")
	}
	found := make(map[string]change)
	for _, ch := range c.changes() {
		found[ch.name] = ch
	}
	if ch := found[someCell]; !ch.significant() || ch.before != 70 || ch.after != 33 {
		t.Errorf("%+v: want it faster, 70 and 33", ch)
	}
	if ch := found[someRate]; !ch.significant() || ch.ratio() < 1.05 {
		t.Errorf("%+v: want it slower by 6 %%", ch)
	}
	if ch := found[copyOf("64 B")]; ch.significant() || len(found) != 3 {
		t.Errorf("%+v of %d: want three rows, this one as before", ch, len(found))
	}
	table := c.table()
	if want := "1 slower and 1 faster"; !strings.Contains(table.notes[0], want) {
		t.Errorf("%q, want %q", table.notes[0], want)
	}
}

func TestOtherMachineIsComparedInCopies(t *testing.T) {
	// All takes twice as long, but for a row that takes three times as long.
	slow := func(v []float64, factor float64) (out []float64) {
		for _, x := range v {
			out = append(out, x*factor)
		}
		return out
	}
	before := &Figures{Cells: cellsOf(map[string][]float64{copyOf("64 B"): times(2), someCell: times(70), someRate: times(50)})}
	after := &Figures{Cells: cellsOf(map[string][]float64{copyOf("64 B"): slow(times(2), 2), someCell: slow(times(70), 2), someRate: slow(times(50), 3)})}
	c := compare(before, after)
	if !c.relative {
		t.Fatal("a machine that copies half as fast: want multiples of the bare copy")
	}
	for _, ch := range c.changes() {
		switch ch.name {
		case someCell:
			if ch.significant() {
				t.Errorf("%+v: want no change", ch)
			}
		case someRate:
			if !ch.significant() || ch.ratio() < 1.49 || ch.ratio() > 1.51 {
				t.Errorf("%+v: want it slower by a half", ch)
			}
		default:
			t.Errorf("%+v: the bare copy is the unit", ch)
		}
	}
	after.Machine.Cores = 8
	after.Cells = before.Cells
	if c := compare(before, after); !c.relative {
		t.Error("another number of cores: want multiples of the bare copy")
	}
}

func TestRunsAreMerged(t *testing.T) {
	run := func(rate float64, cells map[string][]float64) *Figures {
		cells[someCell] = []float64{rate}
		return &Figures{Date: "2026-11-28", Cells: cellsOf(cells)}
	}
	f := Merge([]*Figures{
		run(70, map[string][]float64{}),
		run(90, map[string][]float64{someRate: {50}}),
		run(71, map[string][]float64{}),
	})
	if c, _ := f.cell(someCell); !reflect.DeepEqual(c, CellFigures{Name: someCell, Median: 71, Samples: []float64{70, 90, 71}}) {
		t.Errorf("%+v: want the samples of all runs", c)
	}
	if c, ok := f.cell(someRate); !ok || c.Median != 50 {
		t.Errorf("%+v: want a cell that one run has", c)
	}
	if f.Date != "2026-11-28" || len(f.Cells) != 2 {
		t.Errorf("%+v: want two cells", f)
	}
}

func TestTooFewSamplesAreNoEvidence(t *testing.T) {
	before := &Figures{Cells: cellsOf(map[string][]float64{someCell: {70}})}
	after := &Figures{Cells: cellsOf(map[string][]float64{someCell: times(140)})}
	c := compare(before, after)
	table := c.table()
	if !strings.Contains(table.rows[0][4], "too few") || !strings.Contains(table.notes[0], "0 slower") {
		t.Errorf("%q %q: want no verdict from one sample", table.rows, table.notes)
	}
}

func TestSizeOfACellIsInItsName(t *testing.T) {
	for name, want := range map[string]string{
		"Path/rxring/1500 B":                  "1500 B",
		"Writers/64 KiB, ticket/2 writers":    "64 KiB",
		"Writers/64 B, Deliver/1 writer":      "64 B",
		"Filter/rxring/cbpf/tcp port 80":      "64 B",
		"Drain/rxring/capture, V3/64 B":       "64 B",
		"Flood/tcpdump through rxring/1500 B": "1500 B",
		"Fleet/fleet-none, read-ns/1500 B":    "1500 B",
	} {
		if got := sizeOf(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

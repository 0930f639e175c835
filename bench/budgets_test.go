package bench

import (
	"regexp"
	"slices"
	"testing"
)

func TestBudgetsAreOfCellsThatAreMeasured(t *testing.T) {
	all, err := cells()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range all {
		names = append(names, c.name())
	}
	for _, f := range floods {
		names = append(names, f.name())
	}
	for _, b := range budgets() {
		for _, name := range b.of {
			if !slices.Contains(names, name) {
				t.Errorf("budget %q is computed from %q, which is not measured", b.what, name)
			}
		}
	}
}

func TestBudgetIsMetOrMissed(t *testing.T) {
	most, least := budget{limit: 20}, budget{limit: 7, least: true}
	for _, c := range []struct {
		b    budget
		v    float64
		want string
	}{
		{most, 20, "met"},
		{most, 25, "missed: 1.25 × the budget"},
		{least, 7, "met"},
		{least, 3.5, "missed: 0.50 of the budget"},
		{budget{}, 0, "met"},
		{budget{}, 1, "missed"},
	} {
		if got := c.b.verdict(c.v); got != c.want {
			t.Errorf("%+v, measured %v: %q, want %q", c.b, c.v, got, c.want)
		}
	}
}

func TestBudgetTableHasWhatWasAskedFor(t *testing.T) {
	stamped := cell{table: pathTable, row: rowStamped, column: "64 B"}.name()
	r := &Report{
		Config:  Config{Only: regexp.MustCompile("^Path/.*/64 B$")},
		figures: map[string]Figure{stamped: {Ns: 30}},
		skipped: map[string]string{cell{table: pathTable, row: rowTAP, column: "64 B"}.name(): "no TAP"},
	}
	rows := make(map[string][]string)
	for _, row := range r.budgetTable().rows {
		rows[row[0]] = row[1:]
	}
	if got, want := rows["Deliver 64 B, caller's timestamp"], []string{"30.0 ns", "20.0 ns", "missed: 1.50 × the budget"}; !slices.Equal(got, want) {
		t.Errorf("measured: %q, want %q", got, want)
	}
	if got, want := rows["64 B, times as fast as TAP, tcpdump"], []string{"-", "50.0 ×", "not measured"}; !slices.Equal(got, want) {
		t.Errorf("skipped: %q, want %q", got, want)
	}
	if row, ok := rows["Deliver 1500 B, more than the bare copy"]; ok {
		t.Errorf("not asked for: %q, want no row", row)
	}
}

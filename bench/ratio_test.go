package bench

import "testing"

func TestWritersAreComparedWithinARound(t *testing.T) {
	const table, row = writersTable, "row"
	name := func(writers int) string { return cell{table: table, row: row, column: writersColumn(writers)}.name() }
	sample := func(rate uint64) Sample { return Sample{Accepted: rate, Elapsed: 1e9} }
	r := &Report{samples: map[string][]Sample{
		name(1): {sample(50), sample(10), sample(10)}, // the machine has become slower
		name(2): {sample(60), sample(60), sample(12)}, // a round later
	}}
	if ratio, ok := r.againstOne(table, row, 2); !ok || ratio != 1.2 {
		t.Errorf("%v, %v: want 1.2, the middle of 1.2, 6 and 1.2", ratio, ok)
	}
	if _, ok := r.againstOne(table, row, 4); ok {
		t.Error("a ratio without samples")
	}
}

package bench

import (
	"slices"
	"strings"
	"testing"
)

const fleetOutput = `goos: linux
pkg: github.com/rxring/rxring/fleet
BenchmarkPath/fleet-none/64B-2   300000  4550 ns/op  0.4155 Mpkt/s  350.0 between-ns  634.3 read-ns  500.0 send-ns
BenchmarkPath/TCP/64B-2          300000  1755 ns/op  1.651 Mpkt/s     0 between-ns    245.5 read-ns  200.0 send-ns
BenchmarkPath/TCP/1500B-2        300000  3358 ns/op  0.4146 Mpkt/s    0 between-ns  1482 read-ns  1500 send-ns
PASS
`

func TestFleetIsReadFromItsBenchmark(t *testing.T) {
	r := &Report{}
	for range 2 {
		if err := r.addFleet([]byte(fleetOutput)); err != nil {
			t.Fatal(err)
		}
	}
	table := r.fleetGrid()
	for _, want := range [][]string{
		{"fleet-none", "500", "350", "634", "0.42", "-", "-", "-", "-"},
		{"TCP", "200", "0.00", "246", "1.65", "1500", "0.00", "1482", "0.41"},
	} {
		if !slices.ContainsFunc(table.rows, func(row []string) bool { return slices.Equal(row, want) }) {
			t.Errorf("%q: want a row %q", table.rows, want)
		}
	}
	var names []string
	for _, c := range r.fleetFigures() {
		names = append(names, c.Name)
		if len(c.Samples) != 2 {
			t.Errorf("%s has %d samples, want those of two rounds", c.Name, len(c.Samples))
		}
	}
	if !slices.Contains(names, "Fleet/TCP, read-ns/1500 B") || slices.Contains(names, "Fleet/TCP, between-ns/64 B") || strings.Contains(strings.Join(names, " "), "Mpkt") {
		t.Errorf("%q: want the times that are not zero", names)
	}
}

func TestFleetWithoutResultsIsAnError(t *testing.T) {
	for _, out := range []string{"PASS\n", "BenchmarkPath/TCP/64B-2 1 5 ns/op\n", "BenchmarkPath-2 1 5 ns/op\n"} {
		if err := (&Report{}).addFleet([]byte(out)); err == nil {
			t.Errorf("%q: no error", out)
		}
	}
}

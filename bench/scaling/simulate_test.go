//go:build explore

package scaling

import (
	"math"
	"os"
	"testing"

	"github.com/rxring/rxring/bench"
	"github.com/rxring/rxring/internal/ownership"
)

// near has figures of a quiet machine whose two cores share a cache.
func near(t *testing.T) *bench.Figures {
	t.Helper()
	f, err := os.Open("testdata/near.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	figures, err := bench.ReadFigures(f)
	if err != nil {
		t.Fatal(err)
	}
	return figures
}

func machineOf(t *testing.T, f *bench.Figures) Machine {
	t.Helper()
	m, err := MachineOf(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func simulate(t *testing.T, m Machine, p Path, writers int, seed uint64) float64 {
	t.Helper()
	v, err := Simulate(m, p, writers, seed)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestSimulationPredictsWhatWasMeasured holds the model to what docs/scaling.md says of it.
func TestSimulationPredictsWhatWasMeasured(t *testing.T) {
	f := near(t)
	all, err := Check(machineOf(t, f), f)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(Paths())*len(Sizes)*2 {
		t.Errorf("%d predictions, want one of each path, size and number of writers", len(all))
	}
	for _, c := range all {
		most := 0.2
		switch {
		case c.Fitted:
			most = 0.01
		case c.Size != Sizes[0]:
			most = 0.6 // the memory is not simulated
		}
		if math.Abs(c.Error()) > most {
			t.Errorf("%s, %s, %d writers: %.1f ns, measured %.1f: want it within %.0f %%", c.Size, c.Path, c.Writers, c.Predicted, c.Measured, 100*most)
		}
	}
}

func TestSimulationIsRepeatable(t *testing.T) {
	m := machineOf(t, near(t))
	for _, d := range []ownership.Design{ownership.Ticket, ownership.OwnerMap} {
		p := Path{Name: d.String(), Design: d, Work: 10 * nanosecond}
		first := simulate(t, m, p, 8, 1)
		if again := simulate(t, m, p, 8, 1); again != first {
			t.Errorf("%v: %v ns, then %v: want the same of the same seed", d, first, again)
		}
		if other := simulate(t, m, p, 8, 2); other == first || math.Abs(other/first-1) > 0.4 {
			t.Errorf("%v: %v ns, of another seed %v: want about as many, not the same", d, first, other)
		}
	}
}

func TestWritersThatShareNothingScale(t *testing.T) {
	m := machineOf(t, near(t))
	p := Path{Design: ownership.Ticket, Work: 10 * nanosecond, Rings: 16}
	one := simulate(t, m, p, 1, 1)
	if got := simulate(t, m, p, 16, 1); math.Abs(got*16/one-1) > 0.02 {
		t.Errorf("16 writers with a ring each: %v ns a packet, one %v: want a sixteenth", got, one)
	}
	m.Near, m.Far = 0, 0 // lines move for nothing
	p.Rings = 1
	if got := simulate(t, m, p, 2, 1); got > one*0.7 {
		t.Errorf("2 writers whose lines move at no cost: %v ns a packet, one %v: want not much more than half", got, one)
	}
}

func TestDistanceCosts(t *testing.T) {
	m := machineOf(t, near(t))
	far := m
	far.Near, far.Far = 8*m.Near, 8*m.Far
	for _, d := range []ownership.Design{ownership.Ticket, ownership.OwnerMap} {
		p := Path{Design: d, Work: 10 * nanosecond}
		if a, b := simulate(t, m, p, 4, 1), simulate(t, far, p, 4, 1); b < 2*a {
			t.Errorf("%v: %v ns near, %v far: want it to cost much more", d, a, b)
		}
		if a, b := simulate(t, m, p, 1, 1), simulate(t, far, p, 1, 1); a != b {
			t.Errorf("%v: one writer takes %v ns near, %v far: want the same", d, a, b)
		}
	}
}

func TestFiguresWithoutCoresAreRefused(t *testing.T) {
	f := near(t)
	for i, c := range f.Cells {
		if c.Name == "Cores/locked instruction, line in the own cache/2 cores" {
			f.Cells[i].Name = "other"
		}
	}
	if m, err := MachineOf(f); err == nil {
		t.Errorf("%+v: want an error", m)
	}
}

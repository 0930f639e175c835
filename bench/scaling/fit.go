//go:build explore

package scaling

import (
	"fmt"

	"github.com/rxring/rxring/bench"
	"github.com/rxring/rxring/internal/ownership"
)

// hit is a load that finds its line in the core's own cache, and buffered a store until it is in the store
// buffer: 4 cycles and 1 of a processor at 4 GHz.
const hit, buffered = nanosecond, nanosecond / 4

// MachineOf is the machine that figures were measured on, with all cores as far from each other as the two
// that were measured.
func MachineOf(f *bench.Figures) (m Machine, err error) {
	locked, turn, ok := f.CoreCosts()
	if !ok {
		return m, fmt.Errorf("the figures of %s have no costs of cores: measure them with table -only '^Cores' -json FILE", f.Date)
	}
	m = Machine{Hit: hit, Store: buffered, Locked: ns(locked), Domain: 1 << 10}
	// In a turn a core loads the line, and takes it away from the other with a locked store.
	m.Near = (ns(turn) - m.Locked - m.Hit) / 2
	m.Far = m.Near
	return m, nil
}

// Paths are those that are predicted.
func Paths() []Path {
	return []Path{
		{Name: "ticket fills the ring", Design: ownership.Ticket},
		{Name: "owner-map fills the ring", Design: ownership.OwnerMap, like: "ticket fills the ring"},
		{Name: "Deliver fills the ring", Design: ownership.Ticket, Device: true},
		{Name: "fanout of 2, Deliver fills both rings", Design: ownership.Ticket, Rings: 2, Device: true, like: "Deliver fills the ring"},
		{Name: "DeliverBatch of 32 fills the ring", Design: ownership.Ticket, Batch: 32, Device: true},
	}
}

// Sizes are those of the packets. 64 KiB are left out: the memory's bandwidth, which is not simulated,
// bounds them.
var Sizes = []string{"64 B", "1500 B"}

// Fit sets the work of each path to what makes the simulation of one writer take as long as one writer took
// with packets of 64 bytes. A path that is like another one gets that one's. Longer packets take as much
// more as their bare copy does.
func Fit(m Machine, f *bench.Figures, size string) (fitted []Path, err error) {
	for _, p := range Paths() {
		of := p
		for _, other := range Paths() {
			if other.Name == p.like {
				of = other
			}
		}
		measured, ok := f.OfWriters("64 B", of.Name, 1)
		copied, ok2 := f.BareCopy(size)
		small, ok3 := f.BareCopy("64 B")
		if !ok || !ok2 || !ok3 {
			return nil, fmt.Errorf("the figures of %s lack one writer of %q or a bare copy", f.Date, of.Name)
		}
		of.Work = 0
		bare, err := Predict(m, of, 1)
		if err != nil {
			return nil, err
		}
		p.Work = max(0, ns(measured-bare)) + ns(copied-small)
		fitted = append(fitted, p)
	}
	return fitted, nil
}

// Checked is a prediction beside what was measured.
type Checked struct {
	Path, Size          string
	Writers             int
	Measured, Predicted float64 // ns a packet
	Fitted              bool    // the prediction was made to be what was measured
}

// Error is how far off the prediction is: 0.1 is a tenth too slow.
func (c Checked) Error() float64 { return c.Predicted/c.Measured - 1 }

// Check predicts what was measured.
func Check(m Machine, f *bench.Figures) (all []Checked, err error) {
	for _, size := range Sizes {
		paths, err := Fit(m, f, size)
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			for _, writers := range []int{1, 2} {
				measured, ok := f.OfWriters(size, p.Name, writers)
				if !ok {
					continue
				}
				predicted, err := Predict(m, p, writers)
				if err != nil {
					return nil, err
				}
				all = append(all, Checked{p.Name, size, writers, measured, predicted, writers == 1 && size == Sizes[0] && p.like == ""})
			}
		}
	}
	return all, nil
}

// FanoutOf8 is Deliver spread over eight rings, which was not measured, with the work of one ring's.
func FanoutOf8(fitted []Path) (p Path) {
	for _, p = range fitted {
		if p.Name == "Deliver fills the ring" {
			break
		}
	}
	p.Name, p.Rings = "fanout of 8, Deliver", 8
	return p
}

// Predict is the mean of three simulations, which differ in where the writers are and in their work's jitter.
func Predict(m Machine, p Path, writers int) (ns float64, err error) {
	const seeds = 3
	for seed := range uint64(seeds) {
		v, err := Simulate(m, p, writers, seed)
		if err != nil {
			return 0, err
		}
		ns += v / seeds
	}
	return ns, nil
}

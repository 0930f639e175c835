package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Config says what to measure, and for how long. Rounds and Budget must be set.
type Config struct {
	Rounds int            // samples of each cell
	Budget time.Duration  // on the clock, a sample
	Only   *regexp.Regexp // cells by name; nil: all

	Against *Figures // of an older run, to compare with; nil: none

	Log io.Writer // what was skipped, once; may be nil
	Raw io.Writer // every sample in Go's benchmark format; may be nil
}

// aMeasurement is the least budget of a real measurement; less only checks that everything works.
const aMeasurement = 10 * time.Millisecond

// Figure is a cell's medians over the rounds.
type Figure struct {
	Ns     float64 // a packet offered
	Rate   float64 // packets accepted a second
	Share  float64 // of the packets offered that was accepted
	Allocs float64 // a packet offered
}

// Report holds the results of Run.
type Report struct {
	Config  Config
	Start   time.Time
	Took    time.Duration
	Machine Machine

	cells   []cell // those measured, in order
	figures map[string]Figure
	samples map[string][]Sample // by the name of the cell, a round each
	skipped map[string]string   // why, by the name of the cell
	trials  map[string][]trial  // by the row of the flood, a round each
	floods  []flood
	fleet   []*fleetSamples
}

// Run measures, round by round. It ends early, with ctx's error, when ctx ends.
func Run(ctx context.Context, c Config) (r *Report, err error) {
	defer func() { err = errors.Join(err, removeRxring()) }()
	all, err := cells()
	if err != nil {
		return nil, err
	}
	if c.Only != nil {
		all = slices.DeleteFunc(all, func(cell cell) bool { return !c.Only.MatchString(cell.name()) })
	}
	floods := slices.Clone(floods)
	if c.Only != nil {
		floods = slices.DeleteFunc(floods, func(f flooded) bool { return !c.Only.MatchString(f.name()) })
	}
	fleet := c.Only == nil || c.Only.MatchString(fleetTable+"/")
	if len(all)+len(floods) == 0 && !fleet || c.Rounds < 1 || c.Budget <= 0 {
		return nil, fmt.Errorf("%d cells, %d rounds of %v a sample: want at least one of each", len(all)+len(floods), c.Rounds, c.Budget)
	}
	r = &Report{Config: c, Start: time.Now(), Machine: thisMachine(), cells: all, figures: make(map[string]Figure), samples: make(map[string][]Sample), skipped: make(map[string]string), trials: make(map[string][]trial)}
	for range c.Rounds {
		for _, cell := range all {
			name := cell.name()
			if r.skipped[name] != "" {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			s, err := cell.run(c.Budget)
			if skip, err := r.skipIf(name, err); err != nil {
				return nil, err
			} else if skip {
				continue
			}
			r.samples[name] = append(r.samples[name], s)
			c.raw(name, s)
		}
		for _, f := range floods {
			name := f.name()
			if r.skipped[name] != "" {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			t, err := f.run(c.Budget < aMeasurement)
			if skip, err := r.skipIf(name, err); err != nil {
				return nil, err
			} else if skip {
				continue
			}
			r.trials[f.row] = append(r.trials[f.row], t)
			c.rawFlood(name, t)
		}
		if fleet {
			skip, err := r.skipIf(fleetTable, r.runFleet(ctx, c.Budget < aMeasurement))
			if err != nil {
				return nil, err
			}
			fleet = !skip
		}
	}
	for _, f := range floods {
		r.floods = append(r.floods, r.medianFlood(f.row))
	}
	r.Took = time.Since(r.Start)
	for name, of := range r.samples {
		r.figures[name] = Figure{
			Ns:     median(of, Sample.NsPerPacket),
			Rate:   median(of, Sample.Rate),
			Share:  median(of, Sample.Share),
			Allocs: median(of, Sample.AllocsPerPacket),
		}
	}
	return r, nil
}

// skipIf skips what this machine cannot run. Another error is returned with the name of what failed.
func (r *Report) skipIf(name string, err error) (skip bool, _ error) {
	switch {
	case errors.Is(err, errSkip):
		r.skip(name, err)
		return true, nil
	case err != nil:
		return false, fmt.Errorf("%s: %w", name, err)
	}
	return false, nil
}

func (r *Report) skip(name string, why error) {
	r.skipped[name] = why.Error()
	if r.Config.Log != nil {
		fmt.Fprintf(r.Config.Log, "NOT MEASURED: %s: %v\n", name, why)
	}
}

func (c *Config) raw(name string, s Sample) {
	if c.Raw == nil {
		return
	}
	fmt.Fprintf(c.Raw, "Benchmark%s %d %.2f ns/op %.0f accepted/s %.4f accepted/op %.3f allocs/op\n",
		rawName(name), s.Offered, s.NsPerPacket(), s.Rate(), s.Share(), s.AllocsPerPacket())
}

// rawFlood writes a flood's CPU time for a packet.
func (c *Config) rawFlood(name string, t trial) {
	if c.Raw == nil {
		return
	}
	fmt.Fprintf(c.Raw, "Benchmark%s %d %.2f ns/op %.0f sent/s %.4f accepted/op\n", rawName(name), t.sent, t.nsPerPacket(), t.rate(), t.kept())
}

func rawName(name string) string { return strings.NewReplacer(" ", "_", ",", "").Replace(name) }

// median is the median of a value of samples or trials.
func median[S any](of []S, value func(S) float64) float64 {
	v := make([]float64, len(of))
	for i, s := range of {
		v[i] = value(s)
	}
	return middle(v)
}

func medianOf(v []float64) float64 { return middle(slices.Clone(v)) }

// middle is the median of v, which it sorts.
func middle(v []float64) float64 {
	slices.Sort(v)
	mid := len(v) / 2
	if len(v)%2 == 1 {
		return v[mid]
	}
	return (v[mid-1] + v[mid]) / 2
}

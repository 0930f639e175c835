package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
)

// Figures are the results of a run, as they are stored.
type Figures struct {
	Version string        `json:"version"` // of rxring, as git describes it
	Date    string        `json:"date"`    // such as 2026-11-28
	Machine Machine       `json:"machine"`
	Sample  string        `json:"sample"` // time on the clock
	Cells   []CellFigures `json:"cells"`
}

// CellFigures are those of a cell, a flood or a benchmark of another package.
type CellFigures struct {
	Name    string    `json:"name"`
	Median  float64   `json:"median"`           // of Samples
	Samples []float64 `json:"samples"`          // ns a packet, a round each; tables of rates: a packet accepted
	Share   float64   `json:"share,omitempty"`  // of the packets offered that was accepted
	Allocs  float64   `json:"allocs,omitempty"` // a packet
}

// Figures returns the medians and samples of r.
func (r *Report) Figures() *Figures {
	f := &Figures{Version: describe(), Date: r.Start.Format("2006-01-02"), Machine: r.Machine, Sample: r.Config.Budget.String()}
	for _, c := range r.cells {
		name := c.name()
		if r.skipped[name] != "" {
			continue
		}
		var costs []float64
		for _, s := range r.samples[name] {
			costs = append(costs, c.cost(s))
		}
		f.Cells = append(f.Cells, cellFigures(name, costs, r.figures[name]))
	}
	for _, fl := range r.floods {
		var costs []float64
		for _, t := range r.trials[fl.row] {
			costs = append(costs, t.nsPerPacket())
		}
		if len(costs) > 0 {
			f.Cells = append(f.Cells, cellFigures(floodName(fl.row), costs, Figure{Share: fl.kept}))
		}
	}
	f.Cells = append(f.Cells, r.fleetFigures()...)
	return f
}

func cellFigures(name string, samples []float64, f Figure) CellFigures {
	for i, v := range samples {
		samples[i] = significant(v)
	}
	return CellFigures{
		Name:    name,
		Median:  significant(medianOf(samples)),
		Samples: samples,
		Share:   significant(f.Share),
		Allocs:  significant(f.Allocs),
	}
}

// cost is the nanoseconds that a packet takes: one accepted, in the tables of rates.
func (c cell) cost(s Sample) float64 {
	if c.table == writersTable || c.table == unreadTable {
		return 1e9 / s.Rate()
	}
	return s.NsPerPacket()
}

// significant rounds to four digits.
func significant(v float64) float64 {
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	return v
}

// describe is the version of rxring by git, with the number of commits since its tag. It is empty
// outside a clone.
func describe() string {
	out, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// Write writes f as JSON, a cell a line.
func (f *Figures) Write(w io.Writer) error {
	head := *f
	head.Cells = nil
	text, err := json.MarshalIndent(head, "", " ")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "%s[", strings.TrimSuffix(string(text), "null\n}")); err != nil {
		return err
	}
	for i, c := range f.Cells {
		line, err := json.Marshal(c)
		if err != nil {
			return err
		}
		separator := ","
		if i == 0 {
			separator = ""
		}
		if _, err := fmt.Fprintf(w, "%s\n  %s", separator, line); err != nil {
			return err
		}
	}
	_, err = io.WriteString(w, "\n ]\n}\n")
	return err
}

// ReadFigures reads what Write has written.
func ReadFigures(r io.Reader) (*Figures, error) {
	var f Figures
	if err := json.NewDecoder(r).Decode(&f); err != nil {
		return nil, fmt.Errorf("figures: %w", err)
	}
	for _, c := range f.Cells {
		if len(c.Samples) == 0 {
			return nil, fmt.Errorf("figures: %q has no samples: want one at least", c.Name)
		}
		for _, v := range c.Samples {
			if !(v > 0) {
				return nil, fmt.Errorf("figures: %q has a sample of %v ns: want more than 0", c.Name, v)
			}
		}
	}
	if len(f.Cells) == 0 {
		return nil, errors.New("figures: there are no cells")
	}
	return &f, nil
}

// Merge returns the figures of several runs as those of one, with the samples of all. There must be a run.
func Merge(runs []*Figures) *Figures {
	all := *runs[0]
	all.Cells = nil
	at := make(map[string]int)
	for _, f := range runs {
		for _, c := range f.Cells {
			i, ok := at[c.Name]
			if !ok {
				i = len(all.Cells)
				at[c.Name] = i
				all.Cells = append(all.Cells, CellFigures{Name: c.Name, Share: c.Share, Allocs: c.Allocs})
			}
			all.Cells[i].Samples = append(all.Cells[i].Samples, c.Samples...)
		}
	}
	for i := range all.Cells {
		all.Cells[i].Median = significant(medianOf(all.Cells[i].Samples))
	}
	return &all
}

func (f *Figures) cell(name string) (c CellFigures, ok bool) {
	for _, c := range f.Cells {
		if c.Name == name {
			return c, true
		}
	}
	return CellFigures{}, false
}

//go:build explore

// The scaling program predicts how many packets writers on up to 64 cores get into a ring: see
// docs/scaling.md. It prints Markdown.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/rxring/rxring/bench"
	"github.com/rxring/rxring/bench/scaling"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

var writers = []int{1, 2, 4, 8, 16, 32, 64}

// domain is how many cores share a last-level cache on the machine of two levels.
const domain = 8

func run() error {
	path := flag.String("figures", "scaling/testdata/near.json", "fit to the figures in this `file`, which table -json wrote")
	far := flag.Float64("far", 110, "the `nanoseconds` of a line from a core of another domain")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("argument %q: want none", flag.Arg(0))
	}
	f, err := os.Open(*path)
	if err != nil {
		return err
	}
	defer f.Close()
	figures, err := bench.ReadFigures(f)
	if err != nil {
		return fmt.Errorf("%s: %w", *path, err)
	}
	m, err := scaling.MachineOf(figures)
	if err != nil {
		return fmt.Errorf("%s: %w", *path, err)
	}
	fmt.Printf("Figures of %s: a line takes %.1f ns, a locked instruction %.1f.\n", figures.Date, float64(m.Near)/1000, float64(m.Locked)/1000)
	if err := check(m, figures); err != nil {
		return err
	}
	distant, levels := m, m
	distant.Near = scaling.Time(*far * 1000)
	distant.Far = distant.Near
	levels.Far, levels.Domain = distant.Far, domain
	paths, err := scaling.Fit(m, figures, scaling.Sizes[0])
	if err != nil {
		return err
	}
	paths = append(paths, scaling.FanoutOf8(paths))
	for _, of := range []struct {
		title   string
		machine scaling.Machine
	}{
		{fmt.Sprintf("Every line %.1f ns away", float64(m.Near)/1000), m},
		{fmt.Sprintf("Domains of %d cores, lines of other domains %.0f ns away", domain, *far), levels},
		{fmt.Sprintf("Every line %.0f ns away", *far), distant},
	} {
		if err := predict(of.title, of.machine, paths); err != nil {
			return err
		}
	}
	return nil
}

func check(m scaling.Machine, figures *bench.Figures) error {
	all, err := scaling.Check(m, figures)
	if err != nil {
		return err
	}
	fmt.Print("\n| | writers | measured, ns | simulated | |\n|---|---:|---:|---:|---:|\n")
	for _, c := range all {
		off := fmt.Sprintf("%+.0f %%", 100*c.Error())
		if c.Fitted {
			off = "fitted"
		}
		fmt.Printf("| %s, %s | %d | %.1f | %.1f | %s |\n", c.Size, c.Path, c.Writers, c.Measured, c.Predicted, off)
	}
	return nil
}

func predict(title string, m scaling.Machine, paths []scaling.Path) error {
	fmt.Printf("\n%s, %s, million packets a second:\n\n|", title, scaling.Sizes[0])
	for _, n := range writers {
		fmt.Printf(" | %d", n)
	}
	fmt.Printf(" |\n|---|%s\n", strings.Repeat("---:|", len(writers)))
	for _, p := range paths {
		fmt.Printf("| %s", p.Name)
		for _, n := range writers {
			ns, err := scaling.Predict(m, p, n)
			if err != nil {
				return err
			}
			fmt.Printf(" | %.1f", 1e3/ns)
		}
		fmt.Println(" |")
	}
	return nil
}

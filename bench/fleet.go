package bench

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

const (
	fleetTable = "Fleet"

	// The CPU time of other processes is known in steps of 10 ms: so many packets make that 30 ns.
	fleetPackets = 300_000
)

// fleetUnits are the metrics of the fleet module's BenchmarkPath that the table shows, in this order.
var fleetUnits = []struct{ unit, head string }{
	{"send-ns", "host"},
	{"between-ns", "hub"},
	{"read-ns", "reader"},
	{"Mpkt/s", "M/s"},
}

// fleetSamples are the samples of one metric of a path with packets of one size.
type fleetSamples struct {
	path, size, unit string
	samples          []float64 // a round each
}

func (s *fleetSamples) name() string {
	return fleetTable + "/" + s.path + ", " + s.unit + "/" + s.size
}

// runFleet runs the benchmark of module fleet, which bench does not require, once. Short is no
// measurement.
func (r *Report) runFleet(ctx context.Context, short bool) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	paths, n := "Path", fleetPackets
	if short {
		paths, n = "Path/(fleet-auto|TCP|ssh)/64B", 2000
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-C", filepath.Join(root, "fleet"), "-vet=off", "-run", "^$", "-bench", paths, "-benchtime", fmt.Sprintf("%dx", n))
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go test ./fleet: %w: %s", err, out)
	}
	return r.addFleet(out)
}

// addFleet adds a round of the benchmark's output.
func (r *Report) addFleet(out []byte) error {
	results := benchfmt.NewReader(bytes.NewReader(out), "go test ./fleet")
	n := 0
	for results.Scan() {
		result, ok := results.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		_, parts := result.Name.Parts() // such as /fleet-none, /64B, -2
		if len(parts) < 2 {
			return fmt.Errorf("fleet: benchmark %s: want a path and a size in its name", result.Name)
		}
		path, size := strings.TrimPrefix(string(parts[0]), "/"), strings.TrimPrefix(string(parts[1]), "/")
		size = strings.Replace(size, "B", " B", 1)
		for _, u := range fleetUnits {
			v, ok := valueOf(result, u.unit)
			if !ok {
				return fmt.Errorf("fleet: benchmark %s has no %s", result.Name, u.unit)
			}
			s := r.fleetOf(path, size, u.unit)
			if s == nil {
				s = &fleetSamples{path: path, size: size, unit: u.unit}
				r.fleet = append(r.fleet, s)
			}
			s.samples = append(s.samples, v)
			n++
		}
	}
	if err := results.Err(); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	if n == 0 {
		return fmt.Errorf("fleet: no benchmark in %q", out)
	}
	return nil
}

// valueOf is a metric as the benchmark has printed it: the reader turns nanoseconds into seconds.
func valueOf(result *benchfmt.Result, unit string) (v float64, ok bool) {
	for _, value := range result.Values {
		switch unit {
		case value.OrigUnit:
			return value.OrigValue, true
		case value.Unit:
			return value.Value, true
		}
	}
	return 0, false
}

// fleetOf returns the samples of a metric, or nil.
func (r *Report) fleetOf(path, size, unit string) *fleetSamples {
	for _, s := range r.fleet {
		if s.path == path && s.size == size && s.unit == unit {
			return s
		}
	}
	return nil
}

// fleetFigures are those in nanoseconds. A process that took no time that could be measured has none.
func (r *Report) fleetFigures() (all []CellFigures) {
	for _, s := range r.fleet {
		if strings.HasSuffix(s.unit, "-ns") && slices.Min(s.samples) > 0 {
			all = append(all, cellFigures(s.name(), slices.Clone(s.samples), Figure{}))
		}
	}
	return all
}

func (r *Report) fleetGrid() table {
	t := table{title: "Packets from a device of another host, through a hub, TCP or ssh"}
	if len(r.fleet) == 0 {
		return t
	}
	var paths, sizes []string
	for _, s := range r.fleet {
		if !slices.Contains(paths, s.path) {
			paths = append(paths, s.path)
		}
		if !slices.Contains(sizes, s.size) {
			sizes = append(sizes, s.size)
		}
	}
	t.head = []string{""}
	for _, size := range sizes {
		for i, u := range fleetUnits {
			head := u.head
			if i == 0 {
				head = size + ": " + head
			}
			t.head = append(t.head, head)
		}
	}
	for _, path := range paths {
		line := []string{path}
		for _, size := range sizes {
			for _, u := range fleetUnits {
				text := "-"
				if s := r.fleetOf(path, size, u.unit); s != nil {
					text = number(medianOf(s.samples))
				}
				line = append(line, text)
			}
		}
		t.rows = append(t.rows, line)
	}
	t.notes = []string{fmt.Sprintf("host, hub and reader: ns of CPU time a packet, of the process that sends, of the hub or of ssh and sshd, and of the process that reads; in steps of %d ns. All run on this machine, over loopback.", 10_000_000/fleetPackets)}
	return t
}

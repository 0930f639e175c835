package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring/cmd/rxring/internal/progress"
	"github.com/rxring/rxring/cmd/rxring/internal/race"
	"github.com/rxring/rxring/internal/suggest"
)

func newRace() *cobra.Command {
	var (
		config   = race.Default()
		kernel   = race.DefaultKernel()
		design   string
		byKernel bool
		out      raceOutput
	)
	cmd := &cobra.Command{
		Use:   "race",
		Short: "Race writers for the slots of a ring, to compare ownership designs",
		Long: `Run the designs for the ownership of a ring's slots one by one, with goroutines in
shared memory, and check every byte of every packet. All designs but one are for slots
(TPACKET_V1 and V2); blocks is the ring of TPACKET_V3.

Linux's receive ring let a fast writer wrap around into a slot that a slow one
was still filling (fixed in Linux 5.6). The table shows which designs do so too,
which get stuck, and which drop packets without need. The default values provoke
each fault; --slow-writer is the probability that a writer stalls in the middle of a
copy, or of a release that its design leaves open.

With --kernel, the running kernel's own packet socket is tested in a private network
namespace: a V2 ring, or a V3 ring with --design blocks.

Exits with 0 if every design behaves as expected; with 1 if a safe design tears a packet
or gets stuck, or if an unsafe one shows no fault although the run provokes it. With
--kernel, exits with 1 if the kernel tears a packet.`,
		Example: `  rxring race
  rxring race --design unguarded --slots 4 --html race.html
  rxring race --design all --duration 10s --json
  rxring race --kernel
  rxring race --kernel --design blocks`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			out.w = cmd.OutOrStdout()
			if progress.IsTerminal(os.Stderr) {
				out.bar = progress.NewBar(os.Stderr)
			}
			if !byKernel {
				if design != "all" {
					c, err := race.ParseContender(design)
					if err != nil {
						return &exitError{exitUsage, fmt.Errorf("--design %q: %swant %s", design, suggest.DidYouMean(design, designNames()), suggest.Or(designNames()))}
					}
					config.Designs = []race.Contender{c}
				}
				return raceDesigns(ctx, config, out)
			}
			given := cmd.Flags().Changed
			for _, name := range []string{"slow-writer", "html"} {
				if given(name) {
					return &exitError{exitUsage, fmt.Errorf("--%s: want it without --kernel", name)}
				}
			}
			if kernel.Blocks = design == race.Blocks.String(); given("design") && !kernel.Blocks {
				return &exitError{exitUsage, fmt.Errorf("--design %q: with --kernel want %v, or none for slots", design, race.Blocks)}
			}
			if given("writers") {
				kernel.Writers = config.Writers
			}
			if given("slots") {
				kernel.Slots = config.Slots
			}
			if given("frame") {
				kernel.Frame = config.Frame
			}
			if given("duration") {
				kernel.Duration = config.Duration
			}
			return raceKernel(ctx, kernel, out)
		},
	}
	f := cmd.Flags()
	f.StringVar(&design, "design", "all", "design to run: "+suggest.Or(designNames()))
	f.IntVar(&config.Writers, "writers", config.Writers, "number of writers; with --kernel, of TCP connections")
	f.IntVar(&config.Slots, "slots", config.Slots, "number of slots in the ring, or of blocks")
	f.IntVar(&config.Frame, "frame", config.Frame, fmt.Sprintf("bytes of a slot or block (with --kernel default %d)", kernel.Frame))
	f.Float64Var(&config.SlowWriter, "slow-writer", config.SlowWriter, "probability that a writer stalls, 0 to 1")
	f.DurationVar(&config.Duration, "duration", config.Duration, fmt.Sprintf("time to run each design for (with --kernel default %v)", kernel.Duration))
	f.BoolVar(&byKernel, "kernel", false, "test the running kernel's packet socket instead")
	f.BoolVar(&out.json, "json", false, "print one JSON object instead of the table")
	f.StringVar(&out.html, "html", "", "write the result and the history of a torn packet as a page to `FILE`")
	return cmd
}

func designNames() []string {
	names := []string{"all"}
	for _, c := range race.Contenders() {
		names = append(names, c.String())
	}
	return names
}

// raceOutput writes the result of a race.
type raceOutput struct {
	w    io.Writer
	bar  *progress.Bar // nil: standard error is no terminal
	json bool
	html string // file, "" for none
}

func raceDesigns(ctx context.Context, c race.Config, out raceOutput) error {
	// Fail before the race, which takes a while, if the page cannot be written.
	var page *os.File
	if out.html != "" {
		f, err := os.Create(out.html)
		if err != nil {
			return &exitError{exitFailure, fmt.Errorf("--html: %w", err)}
		}
		defer f.Close()
		page = f
	}
	if out.bar != nil {
		c.Progress = func(design race.Contender, done float64) { out.bar.Set(design.String(), done) }
	}
	r, err := race.Run(ctx, c)
	if err != nil {
		return out.failed(err)
	}
	if page != nil {
		err := r.WriteHTML(page)
		if err := errors.Join(err, page.Close()); err != nil {
			return &exitError{exitFailure, fmt.Errorf("--html: %w", err)}
		}
	}
	if err := out.write(r, r.WriteText); err != nil {
		return err
	}
	if !r.OK {
		return &exitError{exitFailure, fmt.Errorf("not as expected: %s", strings.Join(r.Failed(), ", "))}
	}
	return nil
}

func raceKernel(ctx context.Context, c race.KernelConfig, out raceOutput) error {
	if out.bar != nil {
		c.Progress = func(done float64) { out.bar.Set("kernel", done) }
	}
	r, err := race.Kernel(ctx, c)
	if refused := new(race.NamespaceError); errors.As(err, &refused) {
		code, err := race.Rerun(ctx, err)
		if err == nil && code != 0 {
			return &exitError{code, nil} // the child has printed why
		}
		if err != nil {
			return out.failed(err)
		}
		return nil
	}
	if err != nil {
		return out.failed(err)
	}
	if err := out.write(r, r.WriteText); err != nil {
		return err
	}
	if r.Torn > 0 {
		return &exitError{exitFailure, fmt.Errorf("kernel %s: %d of %d packets are torn", r.Kernel, r.Torn, r.Packets)}
	}
	return nil
}

// failed returns the error of a race that could not run.
func (out raceOutput) failed(err error) error {
	if out.bar != nil {
		out.bar.Clear()
	}
	var value *race.ConfigError
	if errors.As(err, &value) {
		return &exitError{exitUsage, fmt.Errorf("--%w", err)}
	}
	return &exitError{exitFailure, err}
}

func (out raceOutput) write(report any, text func(io.Writer) error) error {
	if out.bar != nil {
		out.bar.Clear()
	}
	err := error(nil)
	if out.json {
		e := json.NewEncoder(out.w)
		e.SetIndent("", "  ")
		err = e.Encode(report)
	} else {
		err = text(out.w)
	}
	if err != nil {
		return &exitError{exitFailure, err}
	}
	return nil
}

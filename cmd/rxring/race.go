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

// raceFlags are the flags of race.
type raceFlags struct {
	config   race.Config
	kernel   race.KernelConfig
	design   string
	byKernel bool
	out      raceOutput
}

func newRace() *cobra.Command {
	f := raceFlags{config: race.Default(), kernel: race.DefaultKernel()}
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
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.design, "design", "all", "design to run: "+suggest.Or(designNames()))
	flags.IntVar(&f.config.Writers, "writers", f.config.Writers, "number of writers; with --kernel, of TCP connections")
	flags.IntVar(&f.config.Slots, "slots", f.config.Slots, "number of slots in the ring, or of blocks")
	flags.IntVar(&f.config.Frame, "frame", f.config.Frame, fmt.Sprintf("bytes of a slot or block (with --kernel default %d)", f.kernel.Frame))
	flags.Float64Var(&f.config.SlowWriter, "slow-writer", f.config.SlowWriter, "probability that a writer stalls, 0 to 1")
	flags.DurationVar(&f.config.Duration, "duration", f.config.Duration, fmt.Sprintf("time to run each design for (with --kernel default %v)", f.kernel.Duration))
	flags.BoolVar(&f.byKernel, "kernel", false, "test the running kernel's packet socket instead")
	flags.BoolVar(&f.out.json, "json", false, "print one JSON object instead of the table")
	flags.StringVar(&f.out.html, "html", "", "write the result and the history of a torn packet as a page to `FILE`")
	return cmd
}

func (f *raceFlags) run(cmd *cobra.Command) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	f.out.w = cmd.OutOrStdout()
	if progress.IsTerminal(os.Stderr) {
		f.out.bar = progress.NewBar(os.Stderr)
	}
	if f.byKernel {
		return f.runKernel(ctx, cmd.Flags().Changed)
	}
	if f.design != "all" {
		c, err := race.ParseContender(f.design)
		if err != nil {
			return &exitError{exitUsage, fmt.Errorf("--design %q: %swant %s", f.design, suggest.DidYouMean(f.design, designNames()), suggest.Or(designNames()))}
		}
		f.config.Designs = []race.Contender{c}
	}
	return raceDesigns(ctx, f.config, f.out)
}

// runKernel races in the running kernel. given reports whether a flag was given, and
// replaces the kernel's own default.
func (f *raceFlags) runKernel(ctx context.Context, given func(name string) bool) error {
	for _, name := range []string{"slow-writer", "html"} {
		if given(name) {
			return &exitError{exitUsage, fmt.Errorf("--%s: want it without --kernel", name)}
		}
	}
	if f.kernel.Blocks = f.design == race.Blocks.String(); given("design") && !f.kernel.Blocks {
		return &exitError{exitUsage, fmt.Errorf("--design %q: with --kernel want %v, or none for slots", f.design, race.Blocks)}
	}
	if given("writers") {
		f.kernel.Writers = f.config.Writers
	}
	if given("slots") {
		f.kernel.Slots = f.config.Slots
	}
	if given("frame") {
		f.kernel.Frame = f.config.Frame
	}
	if given("duration") {
		f.kernel.Duration = f.config.Duration
	}
	return raceKernel(ctx, f.kernel, f.out)
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

package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/cmd/rxring/internal/serve"
	"github.com/rxring/rxring/cmd/rxring/internal/top"
)

// Bounds of rxring top --interval.
const (
	leastInterval = 20 * time.Millisecond
	mostInterval  = time.Hour
)

// topFlags are the flags of top.
type topFlags struct {
	config top.Config
	from   string
	order  string
	once   bool
	asJSON bool
	count  int // reports to print
}

func newTop() *cobra.Command {
	var f topFlags
	cmd := &cobra.Command{
		Use:   "top [--at PATH | --from nats://SERVER[/HOSTS[/DEVICES]]]",
		Short: "Show the devices that a process or a fleet offers, and their readers",
		Long: `Show what 'rxring serve' offers: devices and their sources, readers and their rates,
dropped packets by reason, and the slots of each ring: free, being filled, or held by
the reader. A reader that loses packets because its ring is full is marked slow.

--once, --json and --count print reports, which need no terminal, with rates over
--interval. A JSON report is one line with the fields of attach.Status and the rates.

You see your own user's readers, and all readers where the server grants it.

With --from, show the devices of a fleet's hosts ('rxring ship') instead, the readers' sessions
there, and where packets were lost: before the device, in the ring of the host, or in transit,
which is what readers report. You see the sessions of your class (?class=NAME in the URL).`,
		Example: `  rxring top
  rxring top --at /run/user/1000/wg0.sock --sort drops
  rxring top --from 'nats://hub/web-*'
  rxring top --once
  rxring top --json --interval 10s --count 0 | jq -c '.sockets[] | [.program, .rates.captured]'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.config.Path, "at", "", "`PATH` of the unix socket, or a name of rxring ps (default $XDG_RUNTIME_DIR/rxring.sock, for root /run/rxring.sock)")
	flags.StringVar(&f.from, "from", "", "`URL` of a fleet, as nats://SERVER[/HOSTS[/DEVICES]], instead of --at")
	flags.BoolVar(&f.once, "once", false, "print one report as text")
	flags.BoolVar(&f.asJSON, "json", false, "print reports as JSON, one per line")
	flags.DurationVar(&f.config.Interval, "interval", 0, fmt.Sprintf("time between updates (default %v, and %v for reports)", top.LiveInterval, top.PrintInterval))
	flags.IntVar(&f.count, "count", 1, "number of reports to print, 0: until interrupted")
	flags.StringVar(&f.order, "sort", top.ByOpened.String(), "order of readers: opened, drops, held (the part of its ring that a reader holds) or captured")
	return cmd
}

func (f *topFlags) run(cmd *cobra.Command) error {
	if err := emptyAt(cmd, f.config.Path); err != nil {
		return err
	}
	given := cmd.Flags().Changed
	var err error
	switch {
	case given("interval") && (f.config.Interval < leastInterval || f.config.Interval > mostInterval):
		err = fmt.Errorf("--interval %v: want %v to %v", f.config.Interval, leastInterval, mostInterval)
	case f.count < 0:
		err = fmt.Errorf("--count %d: want the number of reports to print, or 0 for no limit", f.count)
	case f.once && given("count") && f.count != 1:
		err = fmt.Errorf("--count %d: --once means --count 1: want one of them", f.count)
	}
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if f.config.Order, err = top.ParseOrder(f.order); err != nil {
		return &exitError{exitUsage, fmt.Errorf("--sort %w", err)}
	}
	switch {
	case given("from"):
		if err := f.openFleet(cmd); err != nil {
			return err
		}
	case !given("at"):
		if f.config.Path, err = defaultAt(); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case f.asJSON:
		err = top.Print(ctx, f.config, cmd.OutOrStdout(), f.count, top.JSON)
	case f.once || given("count"):
		err = top.Print(ctx, f.config, cmd.OutOrStdout(), f.count, top.Text(f.config.Path, top.Width(os.Stdout), f.config.Order))
	default:
		err = top.Live(ctx, f.config, os.Stdin, os.Stdout)
	}
	if errors.Is(err, top.ErrNoTerminal) {
		return &exitError{exitUsage, err}
	}
	if err != nil {
		return &exitError{exitFailure, err}
	}
	return nil
}

// openFleet has the fleet of --from shown.
func (f *topFlags) openFleet(cmd *cobra.Command) error {
	if cmd.Flags().Changed("at") {
		return &exitError{exitUsage, errors.New("--at and --from exclude each other: --at shows a process of this machine, --from a fleet")}
	}
	spec, err := feed.Parse(f.from)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("--from %w", err)}
	}
	nc, query, err := spec.DialFleet()
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("--from %w", err)}
	}
	f.config.Path, f.config.Source = f.from, top.NewFleet(nc, query)
	if u, err := url.Parse(f.from); err == nil { // no password on the screen
		u.User = nil
		f.config.Path = u.String()
	}
	if f.config.Interval == 0 {
		f.config.Interval = top.PrintInterval
	}
	return nil
}

// defaultAt returns the socket at which rxring serve listens by default.
func defaultAt() (string, error) {
	path, err := serve.DefaultPath()
	if err != nil { // its advice is about serving
		return "", errors.New("XDG_RUNTIME_DIR is not set, so there is no default socket: want --at PATH")
	}
	return path, nil
}

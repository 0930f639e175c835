package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring/cmd/rxring/internal/serve"
)

// endedBySignals is a context that ends with parent, or by SIGINT or SIGTERM. After release
// these signals end the process; one that came before has ended the context by then.
func endedBySignals(parent context.Context) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancel(parent)
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM)
	released, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-caught:
			cancel()
		case <-released:
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(caught) // what was delivered is in the channel now
		close(released)
		<-done
		if len(caught) > 0 {
			cancel()
		}
	})
}

func newServe() *cobra.Command {
	var (
		at, config string
		from       []string
		check      bool
		confine    = serve.Confinement{On: true}
	)
	cmd := &cobra.Command{
		Use:   "serve [--check] [--at PATH] [--from SOURCE]... [--config FILE]",
		Short: "Offer devices to other processes, as a daemon",
		Long: `Offer devices at a unix socket, to the programs that other processes run with
'rxring run --at PATH'. Without --config, only to this user's and root's; a file has
rules for others: who sees which devices, which packets, how much of each.

It logs to standard error: what is started and ended, and a line for each process
that attaches or is refused and for each of its sockets. SIGHUP reads the file again,
SIGTERM and SIGINT end it. systemd may hand over the socket.`,
		Example: `  # a terminal:
  rxring serve --from iface:eth0

  # another:
  rxring run --at /run/rxring.sock -- tcpdump -i eth0

  # with rules for others (docs/serve.md):
  rxring serve --config /etc/rxring.toml

  # what those rules allow, and what is wrong with them:
  rxring serve --check --config /etc/rxring.toml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := emptyAt(cmd, at); err != nil {
				return err
			}
			specs, err := parseFrom(from)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			confine.File = config
			o := serve.Options{At: at, From: specs, Log: os.Stderr, Confine: confine}
			if config != "" {
				o.Config = func() (*serve.Config, error) { return serve.Load(config, serve.System) }
			}
			if check {
				text, err := serve.Check(cmd.Context(), o)
				if err != nil {
					return &exitError{exitFailure, err}
				}
				fmt.Fprint(cmd.OutOrStdout(), text)
				return nil
			}
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP)
			defer signal.Stop(hangup)
			signal.Ignore(syscall.SIGPIPE) // of a log whose reader has ended
			ctx, release := endedBySignals(cmd.Context())
			defer release()
			o.Reload = hangup
			o.Confine.Release = func() {
				signal.Ignore(syscall.SIGHUP) // the new program reads the file anyway
				release()
			}
			err = serve.Run(ctx, o)
			var wrong serve.ConfigError
			switch {
			case err == nil:
				return nil
			case ctx.Err() != nil:
				return &exitError{exitFailure, nil} // the log has it; standard error may block
			case errors.As(err, &wrong):
				return &exitError{exitUsage, err}
			}
			return &exitError{exitFailure, err}
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "the unix socket to offer the devices at (default: rxring.sock in $XDG_RUNTIME_DIR, /run/rxring.sock for root)")
	cmd.Flags().StringArrayVar(&from, "from", nil, fromHelp)
	cmd.Flags().StringVar(&config, "config", "", "a TOML file with sources and rules: see docs/serve.md")
	cmd.Flags().BoolVar(&check, "check", false, "say what would be offered to whom, and what is wrong with it, and do no more")
	cmd.Flags().StringVar(&confine.User, "user", "", "started as root, become this user, and keep CAP_NET_RAW only")
	cmd.Flags().BoolVar(&confine.Unsafe, "no-sandbox", false, "keep all files and system calls: see docs/serve.md")
	return cmd
}

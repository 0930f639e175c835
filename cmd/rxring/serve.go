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

// endedBySignals returns a context that ends with parent, or by SIGINT or SIGTERM. After
// release these signals end the process; one that arrived before has ended the context.
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
		signal.Stop(caught) // a signal that was delivered is in the channel now
		close(released)
		<-done
		if len(caught) > 0 {
			cancel()
		}
	})
}

// serveExitCode returns the exit code of a daemon that cannot start.
func serveExitCode(err error) int {
	if wrong := new(serve.ConfigError); errors.As(err, wrong) {
		return exitUsage
	}
	return exitFailure
}

func newServe() *cobra.Command {
	var (
		at, config string
		from       []string
		check      bool
		web        pageFlag
		confine    = serve.Confinement{On: true}
	)
	cmd := &cobra.Command{
		Use:   "serve [--check] [--at PATH] [--from SOURCE]... [--config FILE] [--http ADDRESS]",
		Short: "Offer devices to other processes, as a daemon",
		Long: `Offer devices on a unix socket to programs that other processes run with
'rxring run --at PATH'. Without --config, only this user and root may read them. A
file has rules for other users: which devices and packets they may read, and how much
of each packet.

The log on standard error has a line for each source that starts or ends, for each
process that attaches or is refused, and for each of its sockets. SIGHUP reads the
file again, SIGTERM and SIGINT end the daemon. systemd may pass the socket.

A mistake in the command line or the file has exit status 2, any other error 1; so it
is with --check.`,
		Example: `  # a terminal:
  rxring serve --from iface:eth0

  # another:
  rxring run --at /run/rxring.sock -- tcpdump -i eth0

  # a page in a browser (docs/page.md):
  rxring serve --from iface:eth0 --http 127.0.0.1:8080

  # with rules for others (docs/serve.md):
  rxring serve --config /etc/rxring.toml

  # what those rules allow, and mistakes in them:
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
			if err := web.parse(cmd); err != nil {
				return err
			}
			o.Page = serve.Page{Address: web.address, Cert: web.cert, Key: web.key}
			if config != "" {
				o.Config = func() (*serve.Config, error) { return serve.Load(config, serve.SystemResolver) }
			}
			if check {
				text, err := serve.Check(cmd.Context(), o)
				if err != nil {
					return &exitError{serveExitCode(err), err}
				}
				fmt.Fprint(cmd.OutOrStdout(), text)
				return nil
			}
			return runDaemon(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "offer the devices on this unix socket (default: rxring.sock in $XDG_RUNTIME_DIR, /run/rxring.sock for root)")
	cmd.Flags().StringArrayVar(&from, "from", nil, fromHelp)
	cmd.Flags().StringVar(&config, "config", "", "a TOML file with sources and rules: see docs/serve.md")
	cmd.Flags().BoolVar(&check, "check", false, "describe what would be offered to whom, list mistakes, and exit")
	web.register(cmd.Flags())
	cmd.Flags().StringVar(&confine.User, "user", "", "when started as root, become this user and keep only CAP_NET_RAW")
	cmd.Flags().BoolVar(&confine.Unsafe, "no-sandbox", false, "do not restrict files and system calls: see docs/serve.md")
	return cmd
}

// runDaemon serves until SIGTERM or SIGINT, or the end of parent. SIGHUP reloads the file.
func runDaemon(parent context.Context, o serve.Options) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	signal.Ignore(syscall.SIGPIPE) // of a log whose reader has ended
	ctx, release := endedBySignals(parent)
	defer release()
	o.Reload = hangup
	o.Confine.Release = func() {
		signal.Ignore(syscall.SIGHUP) // the program that is executed next reads the file anyway
		release()
	}
	err := serve.Run(ctx, o)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &exitError{exitFailure, nil} // the log has it; standard error may block
	}
	return &exitError{serveExitCode(err), err}
}

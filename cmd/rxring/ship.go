package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cmd/rxring/internal/dialer"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/cmd/rxring/internal/logqueue"
	"github.com/rxring/rxring/cmd/rxring/internal/serve"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/printable"
)

// shipFlags are the flags of ship.
type shipFlags struct {
	to   string
	from []string
	at   string
	keep []string
	leaf leafFlags

	export metricsFlag

	config string // file
	access fleet.Access
	cfg    fleet.ShipConfig
}

func newShip() *cobra.Command {
	var f shipFlags
	cmd := &cobra.Command{
		Use:   "ship {--to URL | --leaf URL --store DIR} {--from SOURCE... | --at PATH} [--keep RECORDING]... [--host NAME] [--fleet NAME] [--metrics ADDRESS]",
		Short: "Offer this host's devices to readers on other hosts, through NATS",
		Long: `Offer this host's devices to readers on other hosts, through the NATS server at --to:
'rxring hub', or an existing one. The devices are those of --from or, with --at, those that
another process offers at a unix socket. Readers use 'rxring run --from nats://SERVER/HOST/DEVICE'.

Nothing is captured or sent while there is no reader. A reader's filter and snapshot length are
applied here. Each session is a line on standard error.

Readers use a class of the host. Without --config there is one, all, that limits nothing. A file
has an [[allow]] for each class: its name, and limits of devices, packets and bytes. Who may use a
class is up to the permissions of NATS: see 'rxring hub --init', and docs/fleet-access.md.
--creds or --nkey authenticate this host (NATS_CREDS, NATS_NKEY and NATS_CA are their defaults);
then the connection has TLS, unless the server is at a loopback address.

--keep records all the time what a filter accepts, of each device, within a size and an age.
Readers of its class get it with 'rxring run --from nats://SERVER/HOST/DEVICE?since=10m'; the
class limits what is recorded. The recordings are
at the server of --to, which needs JetStream ('rxring hub --store'), or on this host: with
--leaf and --store this process has a server of its own, a leaf node of the hub's. Then what
is recorded does not cross the network until it is read, and goes on while the hub is away.

SIGTERM and SIGINT end it; so does the end of all files of --from.`,
		Example: `  rxring ship --to nats://hub:4222 --from iface:eth0
  rxring ship --to nats://127.0.0.1:4222 --from streams:4 --host web-1
  rxring ship --to nats://hub:4222 --at /run/rxring.sock
  rxring ship --to tls://hub:4222 --creds ship.creds --config ship.toml --from iface:eth0
  rxring ship --leaf nats://hub:7422 --store /var/lib/rxring --from iface:eth0 \
      --keep 'control=tcp port 179 or arp,snaplen=256,size=2GiB,age=24h'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return &exitError{exitUsage, err}
			}
			if err := f.export.parse(cmd); err != nil {
				return err
			}
			ctx, release := endedBySignals(cmd.Context())
			defer release()
			return f.run(ctx)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "`URL` of the NATS server, such as nats://hub:4222")
	flags.StringArrayVar(&f.from, "from", nil, fromHelp)
	flags.StringVar(&f.at, "at", "", "offer the devices that another process offers at this unix socket, or publishes by this name (rxring ps), instead of --from")
	flags.StringArrayVar(&f.keep, "keep", nil, "`RECORDING` of each device, as NAME=FILTER[,snaplen=N][,size=SIZE][,age=TIME][,class=NAME] (size: 1GiB, class: all, unless given); may be repeated")
	f.leaf.register(flags)
	f.export.register(flags)
	flags.StringVar(&f.config, "config", "", "TOML `FILE` with the classes of readers (default: one class, all, without limits)")
	flags.StringVar(&f.access.Creds, "creds", "", "`FILE` of credentials for the server, such as ship.creds of rxring hub --init")
	flags.StringVar(&f.access.NKey, "nkey", "", "`FILE` with the seed of a key, instead of --creds")
	flags.StringVar(&f.access.CA, "ca", "", "PEM `FILE` of the authorities that may sign the server's certificate (default: the system's)")
	flags.StringVar(&f.cfg.Host, "host", "", "`NAME` of this host in the fleet (default: the system's)")
	flags.StringVar(&f.cfg.Fleet, "fleet", fleet.DefaultFleet, "`NAME` of the fleet")
	return cmd
}

func (f *shipFlags) check(cmd *cobra.Command) error {
	if err := f.parseKeep(); err != nil {
		return err
	}
	if cmd.Flags().Changed("config") {
		var err error
		if f.cfg.Classes, err = serve.LoadClasses(f.config, serve.SystemResolver); err != nil {
			return err
		}
	}
	if f.leaf.used() {
		if err := f.leaf.check(f.to); err != nil {
			return err
		}
		f.to = f.leaf.url
	}
	switch u, err := url.Parse(f.to); {
	case f.to == "":
		return errors.New("ship: no server: want --to URL, for instance --to nats://hub:4222; `rxring hub` runs one")
	case err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
		return fmt.Errorf("--to %q: want nats://HOST[:PORT], or tls://HOST[:PORT]", f.to)
	case cmd.Flags().Changed("at"):
		if err := emptyAt(cmd, f.at); err != nil {
			return err
		}
		return alone(cmd, "at", "from")
	case f.from == nil:
		return errors.New("ship: no devices: want --from SOURCE, for instance --from iface:eth0, or --at PATH")
	}
	return nil
}

// run ships until ctx ends, or all files of --from have been played, or the process at --at ends.
func (f *shipFlags) run(ctx context.Context) error {
	nc, disconnect, err := f.dial()
	if err != nil {
		return &exitError{exitFailure, err}
	}
	defer disconnect()
	ns, devices, ended, err := f.open(ctx)
	if ctx.Err() != nil && err != nil {
		return nil // a signal ended it while it began
	}
	if err != nil {
		return err
	}
	log := logqueue.New(printable.Writer(os.Stderr), false)
	defer log.Close()
	f.cfg.Logger = log.Logger(slog.LevelInfo)
	s, err := fleet.Ship(nc, ns, f.cfg)
	if err != nil {
		return &exitError{exitFailure, errors.Join(err, devices.Close())}
	}
	stop, err := f.export.serve("ship", shipMetrics(s, nc))
	if err != nil {
		return errors.Join(err, s.Close(), devices.Close())
	}
	defer stop()
	var names []string
	for _, d := range ns.Devices() {
		names = append(names, d.Name())
	}
	say("ship: %s of host %s at %s", strings.Join(names, ", "), s.Host(), f.to)
	select {
	case <-ctx.Done():
	case <-ended:
	}
	if err := errors.Join(s.Close(), devices.Close()); err != nil {
		return &exitError{exitFailure, err}
	}
	return nil
}

// dial connects to the server: the hub, or this process's own.
func (f *shipFlags) dial() (nc *nats.Conn, disconnect func(), err error) {
	if f.leaf.used() {
		return f.leaf.dial(f.cfg.Host, f.access)
	}
	if nc, err = dialer.NATS(f.to, f.access); err != nil {
		return nil, nil, fmt.Errorf("--to %w", err)
	}
	return nc, nc.Close, nil
}

// open opens the devices. ended receives a value, or is closed, when they have no more packets.
func (f *shipFlags) open(ctx context.Context) (*rxring.Namespace, io.Closer, <-chan struct{}, error) {
	if f.at != "" {
		a, err := attachTo(ctx, f.at)
		if err != nil {
			return nil, nil, nil, &exitError{exitFailure, err}
		}
		f.cfg.Open = dialer.Captures(a.client)
		return a.client.Namespace(), a, a.client.Done(), nil
	}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	flags := sourceFlags{from: f.from}
	feeds, err := flags.open(ctx, feed.Config{Namespace: ns, Failed: func(err error) { say("%v", err) }})
	if err != nil {
		return nil, nil, nil, &exitError{exitUsage, err}
	}
	if err := feeds.start(); err != nil {
		return nil, nil, nil, &exitError{exitFailure, err}
	}
	return ns, feeds, feeds.interrupt, nil
}

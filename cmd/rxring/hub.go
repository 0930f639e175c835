package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rxring/rxring/fleet/hub"
)

func newHub() *cobra.Command {
	var (
		c       hub.Config
		initDir string
		export  metricsFlag
		web     hubPageFlag
		users   hub.InitConfig
	)
	cmd := &cobra.Command{
		Use:   "hub [--listen HOST:PORT] [--leaf HOST:PORT] [--store DIR] [--tls-cert FILE --tls-key FILE] [--auth DIR] [--metrics ADDRESS] [--http ADDRESS] | --init DIR [--class NAME]... [--host NAME]...",
		Short: "Run a NATS server that ships packets from hosts to readers",
		Long: `Run a NATS server through which 'rxring ship' offers hosts' devices and
'rxring run --from nats://SERVER/HOSTS/DEVICES' reads them. An existing NATS server or
cluster does as well: no hub is needed then.

The hub listens at ` + hub.DefaultAddress + ` unless --listen is given. Addresses that are not
loopback ones need --tls-cert and --tls-key, since packets would cross the network in clear text,
and --auth, since everyone who can connect could read them; or --public. SIGTERM and SIGINT end it.

--init makes what is missing in a directory, and ends: the keys of a NATS operator and of its
account, and credentials of users: ship.creds for 'rxring ship --creds', as any host; for each
--host, ship-NAME.creds, as this host alone; read.creds for readers ('?creds=FILE' in nats://...,
or NATS_CREDS=FILE) and, for each --class, read-NAME.creds for readers that may use this class
alone. --auth accepts these users, and no others. It needs the files *.jwt only: keep *.nk elsewhere.`,
		Example: `  rxring hub
  rxring hub --init /etc/rxring/hub --class headers --host web-1 --host web-2
  rxring hub --listen 192.0.2.1:4222 --tls-cert hub.pem --tls-key hub.key --auth /etc/rxring/hub
  rxring hub --listen 192.0.2.1:4222 --public
  rxring hub --store /var/lib/rxring
  rxring hub --http 127.0.0.1:8080    # and a page that shows all hosts: docs/page.md`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("init") {
				return initHub(cmd, initDir, users)
			}
			for _, name := range initFlags {
				if cmd.Flags().Changed(name) {
					return &exitError{exitUsage, fmt.Errorf("--%s: it names a user of --init: want --init DIR, too", name)}
				}
			}
			if err := export.parse(cmd); err != nil {
				return err
			}
			if err := web.parse(cmd); err != nil {
				return err
			}
			ctx, release := endedBySignals(cmd.Context())
			defer release()
			h, err := hub.Start(c)
			if err != nil {
				return &exitError{exitFailure, err}
			}
			defer h.Close()
			stop, err := export.serve("hub", hubMetrics(h))
			if err != nil {
				return err
			}
			defer stop()
			if c.Leaf != "" {
				say("hub: leaf nodes at %s", h.LeafURL())
			}
			say("hub: listening at %s", h.URL())
			closePage, err := web.serve(h.URL())
			if err != nil {
				return err
			}
			defer closePage()
			<-ctx.Done()
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Listen, "listen", hub.DefaultAddress, "address to listen at, as `HOST:PORT`")
	flags.StringVar(&c.Leaf, "leaf", "", "address for leaf nodes, as `HOST:PORT` (default: none)")
	flags.StringVar(&c.Store, "store", "", "`DIRECTORY` of JetStream's streams (default: no JetStream)")
	flags.StringVar(&c.TLSCert, "tls-cert", "", "PEM `FILE` of the server's certificate (default: no TLS)")
	flags.StringVar(&c.TLSKey, "tls-key", "", "PEM `FILE` of the certificate's key")
	flags.StringVar(&c.Auth, "auth", "", "`DIRECTORY` of --init, whose users alone may connect (default: everyone may)")
	flags.BoolVar(&c.Public, "public", false, "allow addresses that are not loopback ones without TLS, or without --auth: everyone can read the packets")
	export.register(flags)
	web.register(flags)
	flags.StringVar(&initDir, "init", "", "make keys, and credentials of users, in this `DIRECTORY`, and exit")
	flags.StringArrayVar(&users.Classes, "class", nil, "with --init: make credentials of readers of this `CLASS`; may be repeated (default: all)")
	flags.StringArrayVar(&users.Hosts, "host", nil, "with --init: make credentials of the host of this `NAME` alone; may be repeated")
	return cmd
}

// initFlags name users of --init.
var initFlags = []string{"class", "host"}

// initHub makes the directory of --auth.
func initHub(cmd *cobra.Command, dir string, users hub.InitConfig) error {
	if dir == "" {
		return &exitError{exitUsage, errors.New("--init \"\": want a directory, such as /etc/rxring/hub")}
	}
	var others []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name != "init" && !slices.Contains(initFlags, f.Name) {
			others = append(others, "--"+f.Name)
		}
	})
	if others != nil {
		return &exitError{exitUsage, fmt.Errorf("--init and %s exclude each other: --init starts no hub", strings.Join(others, ", "))}
	}
	made, err := hub.Init(dir, users)
	for _, name := range made {
		fmt.Fprintln(cmd.OutOrStdout(), filepath.Join(dir, name))
	}
	if err != nil {
		return &exitError{exitFailure, err}
	}
	if made == nil {
		say("hub: %s has everything", dir)
	}
	return nil
}

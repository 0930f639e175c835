package main

import (
	"github.com/spf13/cobra"

	"github.com/rxring/rxring/fleet/hub"
)

func newHub() *cobra.Command {
	var c hub.Config
	cmd := &cobra.Command{
		Use:   "hub [--listen HOST:PORT] [--leaf HOST:PORT] [--store DIR] [--public]",
		Short: "Run a NATS server that ships packets from hosts to readers",
		Long: `Run a NATS server through which 'rxring ship' offers hosts' devices and
'rxring run --from nats://SERVER/HOSTS/DEVICES' reads them. An existing NATS server or
cluster does as well: no hub is needed then.

The hub listens at ` + hub.DefaultAddress + ` unless it is told otherwise. Packets are not
encrypted, and whoever can connect may read them: other addresses need --public.
SIGTERM and SIGINT end it.`,
		Example: `  rxring hub
  rxring hub --listen 192.0.2.1:4222 --public
  rxring hub --store /var/lib/rxring`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, release := endedBySignals(cmd.Context())
			defer release()
			h, err := hub.Start(c)
			if err != nil {
				return &exitError{exitFailure, err}
			}
			if c.Leaf != "" {
				say("hub: leaf nodes at %s", h.LeafURL())
			}
			say("hub: listening at %s", h.URL())
			<-ctx.Done()
			h.Close()
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Listen, "listen", hub.DefaultAddress, "address to listen at, as `HOST:PORT`")
	flags.StringVar(&c.Leaf, "leaf", "", "address for leaf nodes, as `HOST:PORT` (default: none)")
	flags.StringVar(&c.Store, "store", "", "`DIRECTORY` of JetStream's streams (default: no JetStream)")
	flags.BoolVar(&c.Public, "public", false, "allow addresses that are not loopback ones: whoever can connect receives the packets, unencrypted")
	return cmd
}

package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"

	"github.com/rxring/rxring/cmd/rxring/internal/dialer"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/fleet/hub"
)

// leafFlags are the flags of ship for a server in this process.
type leafFlags struct{ url, store string }

// linkTime is how long ship waits for the hub before it begins without it.
const linkTime = 3 * time.Second

func (f *leafFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.url, "leaf", "", "`URL` of the hub's address for leaf nodes, such as nats://hub:7422 (rxring hub --leaf), instead of --to: this process has a server of its own")
	flags.StringVar(&f.store, "store", "", "`DIRECTORY` of that server's recordings")
}

func (f *leafFlags) used() bool { return f.url != "" || f.store != "" }

func (f *leafFlags) check(to string) error {
	switch {
	case f.url == "":
		return errors.New("--store: it is the directory of a leaf node: want --leaf URL, for instance --leaf nats://hub:7422; with --to, recordings are where `rxring hub --store` says")
	case f.store == "":
		return errors.New("--leaf: want --store DIR, for instance --store /var/lib/rxring, for the recordings")
	case to != "":
		return fmt.Errorf("--leaf %s and --to %s: want one of them", f.url, to)
	}
	return nil
}

// dial starts the server, and connects to it.
func (f *leafFlags) dial(host string, access fleet.Access) (nc *nats.Conn, disconnect func(), err error) {
	if host == "" {
		if host, err = os.Hostname(); err != nil {
			return nil, nil, err
		}
	}
	access = dialer.NATSAccess(access)
	if access.NKey != "" {
		return nil, nil, fmt.Errorf("--nkey %s: a leaf node authenticates by credentials: want --creds FILE", access.NKey)
	}
	leaf, err := hub.StartLeaf(hub.LeafConfig{URL: f.url, Store: f.store, Name: fleet.Domain(host), Creds: access.Creds, CA: access.CA})
	if err != nil {
		return nil, nil, fmt.Errorf("--leaf: %w", err)
	}
	if !leaf.Linked(linkTime) {
		say("ship: not linked to a hub at %s yet: beginning without it; want `rxring hub --leaf` there and, if it has users and TLS, --creds and --ca", f.url)
	}
	if nc, err = fleet.Dial("", nats.InProcessServer(leaf)); err != nil {
		leaf.Close()
		return nil, nil, fmt.Errorf("--leaf: %w", err)
	}
	return nc, func() { nc.Close(); leaf.Close() }, nil
}

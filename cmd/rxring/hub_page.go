package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/cmd/rxring/internal/page"
	"github.com/rxring/rxring/cmd/rxring/internal/top"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/printable"
)

// hubPageFlag are the flags of a hub's page, which reads the fleet as any other reader does.
type hubPageFlag struct {
	pageFlag
	from string
	spec feed.Spec // of from, if it was given
}

func (f *hubPageFlag) register(flags *pflag.FlagSet) {
	f.pageFlag.register(flags)
	flags.StringVar(&f.from, "http-from", "", "which hosts and devices the page shows, and with which credentials and class, as `nats://SERVER/HOSTS/DEVICES?creds=FILE&class=NAME` (default: all, without credentials)")
}

func (f *hubPageFlag) parse(cmd *cobra.Command) error {
	if err := f.pageFlag.parse(cmd); err != nil {
		return err
	}
	if !cmd.Flags().Changed("http-from") {
		return nil
	}
	if f.address.Network == "" {
		return &exitError{exitUsage, errors.New("--http-from is of a page: want --http ADDRESS, too")}
	}
	return f.parseFrom(f.from)
}

func (f *hubPageFlag) parseFrom(text string) (err error) {
	f.from = text
	f.spec, err = feed.Parse(text)
	if _, ok := f.spec.FleetServer(); err == nil && !ok {
		err = fmt.Errorf("%q: want nats://SERVER/HOSTS/DEVICES", text)
	}
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("--http-from %w", err)}
	}
	return nil
}

// serve serves the page of the fleet of a hub, if --http was given, until stop is called.
func (f *hubPageFlag) serve(url string) (stop func(), err error) {
	if f.address.Network == "" {
		return func() {}, nil
	}
	if f.from == "" {
		if err := f.parseFrom(url); err != nil {
			return nil, err
		}
	}
	certificate, err := page.LoadCertificate(f.cert, f.key)
	if err != nil {
		return nil, &exitError{exitFailure, err}
	}
	log := slog.New(slog.NewTextHandler(printable.Writer(os.Stderr), nil))
	peer := &fleetPeer{spec: f.spec, budget: rxring.NewBudget(attach.DefaultMaxMemory), log: log}
	s, err := page.New(page.Config{
		Address: f.address, Certificate: certificate, Budget: peer.budget, Connect: peer.connect, Log: log,
		Fleet: func() (top.Source, error) {
			nc, q, err := f.spec.DialFleet()
			if err != nil {
				return nil, err
			}
			return top.NewFleet(nc, q), nil
		},
		Commands: page.Commands{Option: "--from", Value: f.from},
		Print:    func(url string) { say("hub: page at %s", url) },
	})
	if err != nil {
		return nil, &exitError{exitFailure, err}
	}
	return func() { s.Close() }, nil
}

// fleetPeer offers a page the devices of a fleet. They exist while the page is attached: then it
// costs the hosts nothing when no browser shows it, and finds hosts that are new.
type fleetPeer struct {
	spec   feed.Spec
	budget *rxring.Budget
	log    *slog.Logger
}

func (p *fleetPeer) connect(ctx context.Context) (*attach.Client, error) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	set := feed.NewSet("page")
	failed := func(err error) { p.log.Warn("page", "err", err) }
	if err := set.Open(ctx, []feed.Spec{p.spec}, feed.Config{Namespace: ns, Failed: failed}); err != nil {
		return nil, errors.Join(err, set.Close())
	}
	if err := set.StartAll(); err != nil {
		return nil, errors.Join(err, set.Close())
	}
	srv, err := p.offer(ns, set)
	if err != nil {
		return nil, errors.Join(err, set.Close())
	}
	c, err := srv.Connect(ctx, func() (attach.Grant, error) {
		return attach.Grant{AllStatus: true, Socket: rxring.Grant{Budget: p.budget, NoSend: true}}, nil
	})
	if err != nil {
		return nil, errors.Join(err, srv.Close(), set.Close())
	}
	go func() {
		<-c.Done()
		srv.Close()
		set.Close()
	}()
	return c, nil
}

// offer serves the namespace to this process alone, at an abstract address that the kernel
// chooses.
func (p *fleetPeer) offer(ns *rxring.Namespace, set *feed.Set) (*attach.Server, error) {
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	return attach.NewServer(l, attach.Config{
		Namespace: ns,
		Grant: func(attach.Peer) (attach.Grant, error) {
			return attach.Grant{}, explain.Errorf(os.ErrPermission, "this is the page of a hub: want rxring run --from nats://...")
		},
		Describe: func(d *rxring.Device) attach.Description {
			for _, f := range set.List() {
				if slices.Contains(f.Devices(), d) {
					return attach.Description{Source: f.Origin(d), Counters: f.DeviceCounters(d)}
				}
			}
			return attach.Description{}
		},
	})
}

package main

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"gvisor.dev/gvisor/pkg/log"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/streams"
)

// sourceFlags say which device there is and what feeds it.
type sourceFlags struct {
	from string
	name string
}

func (f *sourceFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.from, "from", "streams:4", "what feeds the device: streams[:N] is N TCP streams (0 to "+strconv.Itoa(streams.MaxFlows)+") in an embedded stack, which also answers what programs send to 192.0.2.2")
	cmd.Flags().StringVar(&f.name, "name", "net0", "the device's name")
}

// open makes the device in ns and returns what starts feeding it.
func (f *sourceFlags) open(ns *rxring.Namespace) (dev *rxring.Device, start func() (io.Closer, error), err error) {
	kind, arg, hasArg := strings.Cut(f.from, ":")
	if kind != "streams" {
		return nil, nil, fmt.Errorf("--from %q: want streams or streams:N", f.from)
	}
	var cfg streams.Config
	if hasArg {
		if cfg.Flows, err = strconv.Atoi(arg); err != nil || cfg.Flows < 0 || cfg.Flows > streams.MaxFlows {
			return nil, nil, fmt.Errorf("--from %q: %q streams: want a number from 0 to %d", f.from, arg, streams.MaxFlows)
		}
		if cfg.Flows == 0 {
			cfg.Flows = streams.NoFlows
		}
	}
	if dev, err = ns.AddDevice(rxring.DeviceConfig{Name: f.name, Addrs: []netip.Prefix{streams.LocalAddr}}); err != nil {
		return nil, nil, fmt.Errorf("--name: %w", err)
	}
	log.SetLevel(log.Warning) // what it thinks of a program's packets is for nobody here
	return dev, func() (io.Closer, error) { return streams.Start(dev, cfg) }, nil
}

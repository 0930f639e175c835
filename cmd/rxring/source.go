package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring/cmd/rxring/internal/feed"
)

// sourceFlags are the flags that make devices with their sources.
type sourceFlags struct {
	from []string
	name string
}

const fromHelp = `source of a device, as [NAME=]KIND; may be repeated:
streams[:N], N TCP streams in an embedded stack, which also answers what programs send to 192.0.2.2;
iface:NAME[,immediate][,buffer=SIZE][,snaplen=N][,fanout=N][,nosend], a live interface, with CAP_NET_RAW;
file:PATH[,speed=N|max][,loop[=N]][,now][,after=TIME][,readers=N][,stay][,addr=IP/BITS], a pcap or pcapng file.
iface: nosend refuses what programs send (EPERM). file: speed is a multiple of the speed of the capture,
loop repeats the file N times or for ever, now gives packets the present time, addr gives the device an
address, for programs that need one`

func (f *sourceFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.from, "from", []string{"streams:4"}, fromHelp)
	cmd.Flags().StringVar(&f.name, "name", "", "name of the device, if there is one --from (default: net0, or the source's own)")
}

// parseFrom parses the values of --from.
func parseFrom(from []string) ([]feed.Spec, error) {
	var specs []feed.Spec
	for _, text := range from {
		s, err := feed.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("--from %w", err)
		}
		specs = append(specs, s)
	}
	return specs, nil
}

// open adds the devices to c.Namespace.
func (f *sourceFlags) open(ctx context.Context, c feed.Config) (*sources, error) {
	specs, err := parseFrom(f.from)
	if err != nil {
		return nil, err
	}
	if f.name != "" {
		if len(specs) != 1 {
			return nil, fmt.Errorf("--name %s: there are %d sources: want NAME=SOURCE with each --from", f.name, len(specs))
		}
		specs[0] = specs[0].WithName(f.name)
	}
	s := newSources()
	if err := s.Open(ctx, specs, c); err != nil {
		return nil, err
	}
	for _, f := range s.List() {
		for _, err := range f.LeftOut {
			say("--from %q: %v", f.Spec.String(), err)
		}
	}
	return s, nil
}

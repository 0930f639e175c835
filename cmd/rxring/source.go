package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring/internal/feed"
)

// sourceFlags say which devices there are and what feeds them.
type sourceFlags struct {
	from []string
	name string
}

const fromHelp = `what feeds a device, as [NAME=]KIND; may be given several times:
streams[:N], N TCP streams in an embedded stack, which also answers what programs send to 192.0.2.2;
iface:NAME[,immediate][,buffer=SIZE][,snaplen=N][,fanout=N], a live interface, with CAP_NET_RAW;
file:PATH[,speed=N|max][,loop[=N]][,now], a pcap or pcapng file, once somebody looks`

func (f *sourceFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.from, "from", []string{"streams:4"}, fromHelp)
	cmd.Flags().StringVar(&f.name, "name", "", "the device's name, when there is one --from (default: net0, or what the source calls it)")
}

// parseFrom reads the values of --from.
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

// sources are the feeds of a run.
type sources struct {
	feeds []*feed.Feed

	ending sync.WaitGroup // for those that end by themselves
	ctx    context.Context
	stop   context.CancelFunc
}

// open makes the devices in c.Namespace.
func (f *sourceFlags) open(c feed.Config) (*sources, error) {
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
	s := new(sources)
	s.ctx, s.stop = context.WithCancel(context.Background())
	for _, spec := range specs {
		feed, err := spec.Open(c)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("--from %w", err), s.Close())
		}
		s.feeds = append(s.feeds, feed)
	}
	return s, nil
}

// start lets packets come. When it fails, nothing comes. The devices of a source
// that comes to its end go away when programs have read what there was.
func (s *sources) start() error {
	for _, f := range s.feeds {
		if err := f.Start(); err != nil {
			return errors.Join(fmt.Errorf("--from %w", err), s.Close())
		}
		if done := f.Done(); done != nil {
			s.ending.Go(func() {
				select {
				case <-done:
					f.Finish(s.ctx) // Close tells the error
				case <-s.ctx.Done():
				}
			})
		}
	}
	return nil
}

// Close ends what feeds the devices.
func (s *sources) Close() error {
	s.stop()
	s.ending.Wait()
	var errs []error
	for _, f := range s.feeds {
		errs = append(errs, f.Stop())
	}
	return errors.Join(errs...)
}

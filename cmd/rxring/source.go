package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/internal/suggest"
)

// sourceFlags are the flags that make devices with their sources.
type sourceFlags struct {
	from []string
	name string
}

const fromHelp = `source of a device, as [NAME=]KIND; may be repeated:
streams[:N][,rate=R], N TCP streams in an embedded stack, which also answers what programs send to 192.0.2.2;
iface:NAME[,immediate][,buffer=SIZE][,snaplen=N][,fanout=N][,nosend], a live interface, with CAP_NET_RAW;
file:PATH[,speed=N|max][,loop[=N]][,now][,after=TIME][,readers=N][,stay][,addr=IP/BITS], a pcap or pcapng file;
pcap:-|FIFO|tcp:HOST:PORT|unix:PATH[,reconnect][,now][,after=TIME][,readers=N][,stay][,addr=IP/BITS], pcap or
pcapng while another program writes it; exec:COMMAND[,reconnect]..., the same from a command that a shell runs
(rxring serve: with --no-sandbox);
nats://SERVER[/HOSTS[/DEVICES]][?class=NAME][&compress=auto|none|s2|zstd][&creds=FILE][&nkey=FILE][&ca=FILE][&fleet=NAME][&reorder=TIME],
devices of hosts that rxring ship offers; tls:// requires TLS;
nats://...?since=10m|TIME|start[&to=TIME][&recording=NAME], what rxring ship --keep has recorded of them.
streams: rate is how many segments of 64 KiB each sends per second at most. iface: nosend refuses what programs send (EPERM). file: speed is a multiple of the speed of the capture,
loop repeats the file N times or for ever, now gives packets the present time, addr gives the device an
address, for programs that need one. nats: reorder puts packets of several hosts in the order of their stamps,
within that time. pcap: and exec: reconnect opens the stream again when it has ended.
A comma in a path or a command is doubled`

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
	if err := oneStdin(specs); err != nil {
		return nil, err
	}
	s := newSources()
	defer sayWaiting(specs)()
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

// oneStdin returns an error if several sources are standard input.
func oneStdin(specs []feed.Spec) error {
	n := 0
	for _, s := range specs {
		if s.Stdin() {
			n++
		}
	}
	if n > 1 {
		return fmt.Errorf("--from pcap:- is given %d times: want it once: standard input is one stream", n)
	}
	return nil
}

// waitingTime is the time after which a stream that has not begun is reported.
const waitingTime = 2 * time.Second

// sayWaiting prints which streams are waited for, if that takes long. stop ends it.
func sayWaiting(specs []feed.Spec) (stop func()) {
	var streams []string
	for _, s := range specs {
		if s.Stream() {
			streams = append(streams, strconv.Quote(s.String()))
		}
	}
	if streams == nil {
		return func() {}
	}
	t := time.AfterFunc(waitingTime, func() {
		say("--from: waiting for the first bytes of %s: a program must write pcap or pcapng to it", suggest.List(streams))
	})
	return func() { t.Stop() }
}

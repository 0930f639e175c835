package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cmd/rxring/internal/dump"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/cmd/rxring/internal/serve"
)

// dumpFlags are the flags of dump.
type dumpFlags struct {
	config    dump.Config // run adds what the others say
	devices   []string
	at        string
	from      []string
	size      string
	maxBytes  string
	record    string
	seconds   int
	modest    bool // not promiscuous
	bufferKiB int
}

func newDump() *cobra.Command {
	var f dumpFlags
	cmd := &cobra.Command{
		Use:   "dump [flags] [EXPRESSION]",
		Short: "Capture packets without tcpdump",
		Long: `Capture packets, as lines on standard output or into files (-w).

By default it captures on a live network interface through the kernel's ring, which
needs CAP_NET_RAW. With --at it reads a device that 'rxring serve' or a program with
package attach offers to this user, which needs no capability. With --from it reads a
source inside this process.

-i may be repeated; -i any captures on all devices, also on those that are added later. The
packets of several devices are written in the order of time, each with its device, whose
link type and name are in the file.

EXPRESSION is a filter as of tcpdump ("tcp port 80"); the system's libpcap compiles it.

-w - is standard output. Files are pcapng; a FILE that ends with .pcap is pcap, which has one
link type (of several devices with different ones, Linux cooked v2) and no names, directions
and counts. With .gz or .zst at its end the file is compressed. -C and -G open new files, named as by tcpdump: FILE, FILE1,
FILE2 and so on. With -G, FILE may have conversions of strftime, and each period that has
packets has its own file, which is closed at the end of the period; -W ends the capture
after that many periods. With -C alone, -W is the number of files, FILE0, FILE1 and so on,
that are overwritten in turn. --rotate-packets opens new files, too; where several of these
conditions are given, the first that holds counts. --keep removes the oldest files, but not
those that -z makes of them. -z runs a command for each file that is finished, for one after the other; the capture waits for it
only at its end. Each file ends with the counts of packets received and dropped while it was
open.

--record SIZE is a flight recorder: it keeps the newest packets in that much memory, and
writes them to a file when a packet matches --trigger, on SIGUSR2, or when 'rxring dump
trigger' asks for it. The packet that matched is in the file, after those before it, and
with --after those after it. Each packet is written once: a further trigger adds to the file
that is being written, or opens the next one. FILE may have conversions of strftime; -W ends
the capture after that many files.

-w tcp:HOST:PORT sends pcapng to each client that connects, as PCAP-over-IP: "wireshark -k -i
TCP@127.0.0.1:57012", "nc 127.0.0.1 57012 | tshark -r -" and rxring run --from pcap:tcp:HOST:PORT
read it. The capture begins with the first client. A client that is too slow misses packets of
its own only, which are counted in its stream. HOST is a loopback address, which all users of
this system can connect to, unless --public is given.

What capture files and streams of --from have besides packets is in each file that is written,
and sent to each client: secrets that decrypt packets, names of addresses, and comments, up to
16 MiB of each source. Comments of a stream that arrive after a file was opened are in the next one.

The capture ends after -c packets, after --max-bytes, after --for, at the end of a capture file, on SIGINT or
SIGTERM, when the program that reads standard output or a FIFO (-w) has ended, and with exit code 1
when the device is removed or the process that offers it ends. While the device is down, it waits.`,
		Example: `  rxring dump -i eth0 -c 10 tcp port 443
  rxring dump --at /run/rxring.sock -i wg0 -w wg0.pcapng
  rxring dump --at /run/rxring.sock -w - | tshark -r -
  rxring dump -i eth0 -w tcp:127.0.0.1:57012 not port 22
  rxring dump -i eth0 -i wg0 -w both.pcapng.zst
  rxring dump -i any -w any.pcapng not port 22
  rxring dump -i eth0 -w 'eth0-%Y%m%d-%H%M%S.pcapng' -G 3600 -W 24
  rxring dump -i eth0 -w eth0.pcap -C 100 --keep 10 -z 'logger -t capture'
  rxring dump -i eth0 --record 256m --last 1m --trigger 'tcp[tcpflags] & tcp-rst != 0' -w 'rst-%H%M%S.pcapng'
  rxring dump --from streams:4 -c 20 greater 60000`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := emptyAt(cmd, f.at); err != nil {
				return err
			}
			if cmd.Flags().Changed("at") {
				if err := alone(cmd, "at", "from"); err != nil {
					return &exitError{exitUsage, err}
				}
			}
			f.config.Expression = strings.Join(args, " ")
			f.config.Version = version()
			return f.run(cmd.Context(), f.config)
		},
	}
	f.register(cmd.Flags())
	cmd.AddCommand(newTrigger())
	return cmd
}

func (f *dumpFlags) register(flags *pflag.FlagSet) {
	c := &f.config
	flags.StringArrayVarP(&f.devices, "interface", "i", nil, "`DEVICE` to capture on, or any; may be repeated (default: the first)")
	flags.StringVar(&f.at, "at", "", "read a device that is offered at this unix socket, or published by this name (rxring ps); by default rxring serve listens at rxring.sock in $XDG_RUNTIME_DIR, /run/rxring.sock for root")
	flags.StringArrayVar(&f.from, "from", nil, "read a `SOURCE` in this process, as of rxring run")
	flags.IntVarP(&c.Count, "count", "c", 0, "end after this number of packets")
	flags.DurationVar(&c.For, "for", 0, "end after this time, such as 30s")
	flags.IntVarP(&c.Capture.Snaplen, "snapshot-length", "s", 0, "`BYTES` of each packet to keep (default: 262144, with --immediate the length of the longest packets)")
	flags.StringVarP(&c.File, "write", "w", "", "write to this `FILE`, - for standard output: pcapng, or with .pcap at its end pcap; with .gz or .zst, compressed; tcp:HOST:PORT serves pcapng")
	flags.BoolVar(&c.Public, "public", false, "with -w tcp:HOST:PORT, allow a HOST that is not a loopback address: whoever can connect receives the packets, unencrypted")
	flags.StringVarP(&f.size, "size", "C", "", "open a new file after `SIZE` million bytes (before compression), or KiB, MiB, GiB with the suffix k, m, g")
	flags.IntVarP(&f.seconds, "rotate-seconds", "G", 0, "open a new file every `SECONDS`")
	flags.Uint64Var(&c.Rotation.Packets, "rotate-packets", 0, "open a new file after this number of packets")
	flags.IntVar(&c.Rotation.Keep, "keep", 0, "keep the newest `FILES`, and remove older ones")
	flags.StringVar(&f.maxBytes, "max-bytes", "", "end after `SIZE` of packets, as of -C")
	flags.StringVarP(&c.Command, "postrotate-command", "z", "", "run `COMMAND` FILE, by a shell, for each file that is finished")
	flags.StringVar(&f.record, "record", "", "flight recorder: keep packets in `SIZE` of memory, as of -C, and write them after a trigger")
	flags.StringVar(&c.Record.Trigger, "trigger", "", "with --record: a packet that matches this `FILTER` is a trigger")
	flags.DurationVar(&c.Record.Last, "last", 0, "with --record: write only packets of this time before the trigger, such as 5m (default: all in memory)")
	flags.DurationVar(&c.Record.After, "after", 0, "with --record: write also packets of this time after the trigger, such as 1s")
	flags.IntVarP(&c.Rotation.Files, "files", "W", 0, "number of `FILES` or periods: see above")
	flags.IntVarP(&f.bufferKiB, "buffer-size", "B", 0, "approximate size of the ring in `KiB` (default: 4096, with --immediate 16384, with --record as large as its memory, at most 65536)")
	flags.BoolVar(&c.Capture.Immediate, "immediate", false, "deliver each packet at once, instead of in blocks within 64 ms")
	flags.BoolVarP(&f.modest, "no-promiscuous-mode", "p", false, "capture only packets addressed to this device")
	flags.BoolVarP(&c.Quiet, "quiet", "q", false, "print nothing but errors to standard error")
	flags.BoolP("numeric", "n", false, "accepted for compatibility: addresses are always numeric")
}

func (f *dumpFlags) run(ctx context.Context, c dump.Config) (err error) {
	usage := func(err error) error { return &exitError{exitUsage, err} }
	for _, size := range []struct {
		flag, text string
		bytes      *int64
	}{{"-C", f.size, &c.Rotation.Size}, {"--max-bytes", f.maxBytes, &c.Bytes}, {"--record", f.record, &c.Record.Bytes}} {
		if size.text == "" {
			continue
		}
		if *size.bytes, err = dump.ParseSize(size.flag, size.text); err != nil {
			return usage(err)
		}
	}
	if f.bufferKiB < 0 || f.bufferKiB > 1<<20 {
		return usage(fmt.Errorf("-B %d: want 1 to %d KiB, or 0 for a good size", f.bufferKiB, 1<<20))
	}
	c.Rotation.Period = time.Duration(f.seconds) * time.Second
	c.Capture.Buffer = f.bufferKiB << 10
	c.Capture.Comments = c.File != ""
	c.Capture.Promiscuous = !f.modest
	if err := c.Check(); err != nil {
		return usage(err)
	}
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // by nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, signals...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills the process

	in, closeInput, err := f.openRoomy(ctx, &c)
	if err != nil {
		if exit := new(exitError); errors.As(err, &exit) {
			return err
		}
		if bad := new(dump.UsageError); errors.As(err, &bad) {
			return usage(err)
		}
		if errors.Is(err, syscall.ENOMEM) {
			err = fmt.Errorf("%w: -B is the ring's size in KiB", err)
		}
		return &exitError{exitFailure, err}
	}
	stopTriggers := func() {}
	if c.Record.Bytes > 0 {
		c.Record.Requests, stopTriggers = requestTriggers(c.Quiet)
	}
	result, err := dump.Run(ctx, in, c, os.Stdout, os.Stderr)
	stopTriggers()
	if err2 := closeInput(); err == nil {
		err = err2
	}
	if bad := new(dump.UsageError); errors.As(err, &bad) {
		if info, err2 := os.Stat(c.Expression); err2 == nil && info.Mode().IsRegular() {
			err = fmt.Errorf("%w: there is a file of that name: did you mean --from file:%s?", err, c.Expression)
		}
		return usage(err)
	}
	if !c.Quiet && result.Began {
		say("%s: %v", in.Device, result)
	}
	if err != nil {
		return &exitError{exitFailure, err}
	}
	return nil
}

// openRoomy opens the input, for a flight recorder with a larger ring than otherwise, if there
// is memory for that.
func (f *dumpFlags) openRoomy(ctx context.Context, c *dump.Config) (*dump.Input, func() error, error) {
	if c.Record.Bytes > 0 && f.bufferKiB == 0 {
		c.Capture.Buffer = c.Record.Buffer()
		in, closeInput, err := f.open(ctx, c)
		if !errors.Is(err, syscall.ENOMEM) {
			return in, closeInput, err
		}
		c.Capture.Buffer = 0
	}
	return f.open(ctx, c)
}

// open opens the input. It returns what closes it, too.
func (f *dumpFlags) open(ctx context.Context, c *dump.Config) (*dump.Input, func() error, error) {
	var in *dump.Input
	var err error
	switch {
	case len(f.from) > 0:
		return f.openSource(ctx, c)
	case f.at != "":
		in, err = dump.OpenAttached(ctx, f.at, f.devices, c.Capture)
	default:
		at, err2 := serve.DefaultPath()
		if err2 != nil {
			at = "PATH"
		}
		in, err = dump.OpenLive(f.devices, at, c.Capture)
	}
	if err != nil {
		return nil, nil, err
	}
	return in, in.Close, nil
}

// openSource makes devices in this process. Their sources start after the filter is set.
func (f *dumpFlags) openSource(ctx context.Context, c *dump.Config) (*dump.Input, func() error, error) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	flags := sourceFlags{from: f.from}
	feeds, err := flags.open(ctx, feed.Config{Namespace: ns, Patient: true, Failed: func(err error) { say("%v", err) }})
	if err != nil {
		return nil, nil, &exitError{exitUsage, err}
	}
	in, err := dump.OpenDevices(ns, f.devices, c.Capture)
	if err != nil {
		return nil, nil, errors.Join(err, feeds.Close())
	}
	for _, f := range feeds.List() {
		if f.Extras != nil {
			in.Extras = append(in.Extras, f.Extras)
		}
	}
	in.Start = func() (<-chan struct{}, error) {
		err := feeds.start()
		return feeds.allDone(in.Reads), err
	}
	return in, func() error { return errors.Join(feeds.Close(), in.Close()) }, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring/cmd/rxring/internal/dump"
	"github.com/rxring/rxring/cmd/rxring/internal/extcap"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
)

// extcapFlags are the flags of extcap.
type extcapFlags struct {
	install, uninstall bool
	dir                string
	at, from           []string

	// Wireshark's: extcap(4).
	interfaces, dlts, config, capture, postkill bool

	wireshark string // its version
	run       extcap.Config
}

func newExtcap() *cobra.Command {
	var f extcapFlags
	cmd := &cobra.Command{
		Use:   "extcap --install | --uninstall",
		Short: "List rxring's devices in Wireshark and tshark",
		Long: `List rxring's devices in Wireshark and tshark, which capture on them without privileges.

--install writes a script into this user's extcap directories, ~/.local/lib/wireshark/extcap
and ~/.config/wireshark/extcap (Wireshark 4.0 and earlier). Wireshark then runs this command
with flags of its own, which extcap(4) describes.

Wireshark lists the devices

  rxring:DEVICE         of this user's 'rxring serve'
  rxring:system:DEVICE  of root's, at /run/rxring.sock
  rxring:NAME:DEVICE    of what 'rxring ps' lists as NAME, and of each --at, whose NAME is the
                        socket's file name without .sock
  rxring:SERVER:HOST:DEVICE  of a fleet, of each --from nats://SERVER

The capture filter and the snapshot length are applied where the packets are.`,
		Example: `  rxring extcap --install
  tshark -D
  tshark -i rxring:eth0 -f 'tcp port 443'
  rxring extcap --install --at /run/user/1000/wg0.sock
  rxring extcap --install --from 'nats://hub/web-*'
  rxring extcap --uninstall`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.execute(cmd) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.install, "install", false, "have Wireshark list rxring's devices")
	flags.BoolVar(&f.uninstall, "uninstall", false, "remove what --install has written")
	flags.StringVar(&f.dir, "dir", "", "extcap `DIRECTORY` to install into, such as Wireshark's global one")
	flags.StringArrayVar(&f.at, "at", nil, "also list devices that are offered at this unix socket; may be repeated")
	flags.StringArrayVar(&f.from, "from", nil, "also list the devices of a fleet, nats://SERVER[/HOSTS[/DEVICES]]; may be repeated")

	flags.BoolVar(&f.interfaces, "extcap-interfaces", false, "")
	flags.BoolVar(&f.dlts, "extcap-dlts", false, "")
	flags.BoolVar(&f.config, "extcap-config", false, "")
	flags.BoolVar(&f.capture, "capture", false, "")
	flags.BoolVar(&f.postkill, "extcap-cleanup-postkill", false, "")
	flags.StringVar(&f.wireshark, "extcap-version", "", "")
	flags.StringVar(&f.run.Interface, "extcap-interface", "", "")
	flags.StringVar(&f.run.Filter, "extcap-capture-filter", "", "")
	flags.StringVar(&f.run.FIFO, "fifo", "", "")
	flags.StringVar(&f.run.ControlIn, "extcap-control-in", "", "")
	flags.StringVar(&f.run.ControlOut, "extcap-control-out", "", "")
	flags.StringVar(&f.run.Snaplen, "snaplen", "", "")
	flags.StringVar(&f.run.BufferKiB, "buffer", "", "")
	flags.BoolVar(&f.run.Modest, "no-promiscuous-mode", false, "")
	for _, name := range []string{
		"extcap-interfaces", "extcap-dlts", "extcap-config", "capture", "extcap-cleanup-postkill", "extcap-version", "extcap-interface",
		"extcap-capture-filter", "fifo", "extcap-control-in", "extcap-control-out", "snaplen", "buffer", "no-promiscuous-mode",
	} {
		flags.MarkHidden(name)
	}
	flags.Lookup("extcap-version").NoOptDefVal = "unknown"
	return cmd
}

func (f *extcapFlags) execute(cmd *cobra.Command) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	for _, path := range f.at {
		if !strings.ContainsAny(path, "/.") {
			return &exitError{exitUsage, fmt.Errorf("--at %q: want the path of a unix socket, such as ./wg0.sock; names that rxring ps lists are found without --at", path)}
		}
	}
	for _, from := range f.from {
		spec, err := feed.Parse(from)
		if err != nil {
			return &exitError{exitUsage, fmt.Errorf("--from %w", err)}
		}
		if _, ok := spec.FleetServer(); !ok || spec.Name() != "" {
			return &exitError{exitUsage, fmt.Errorf("--from %q: want nats://SERVER[/HOSTS[/DEVICES]]; `rxring serve` offers other sources to Wireshark", from)}
		}
	}
	var err error
	switch {
	case f.install && f.uninstall:
		return &exitError{exitUsage, errors.New("--install and --uninstall exclude each other")}
	case f.install:
		err = f.installScripts(ctx)
	case f.uninstall:
		err = f.uninstallScripts()
	case f.interfaces:
		all, errs := extcap.List(ctx, f.others())
		for _, err := range errs {
			if !errors.Is(err, os.ErrNotExist) {
				say("%v", err)
			}
		}
		err = extcap.PrintInterfaces(out, version(), all)
	case f.postkill: // nothing is left behind
	case f.run.Interface == "":
		return &exitError{exitUsage, errors.New("extcap: want --install or --uninstall, or the flags with which Wireshark runs it, such as --extcap-interfaces")}
	case f.dlts:
		err = extcap.PrintLinkTypes(ctx, out, f.run.Interface, f.others())
	case f.config:
		err = extcap.PrintConfig(out)
	case f.capture && f.run.FIFO != "":
		return f.runCapture(ctx)
	case cmd.Flags().Changed("extcap-capture-filter"):
		err = extcap.PrintFilterError(ctx, out, f.run.Interface, f.others(), f.run.Filter)
	default:
		return &exitError{exitUsage, fmt.Errorf("--extcap-interface %s: want --extcap-dlts, --extcap-config, --extcap-capture-filter FILTER, or --capture --fifo PATH with it", f.run.Interface)}
	}
	if err != nil {
		return &exitError{exitFailure, err}
	}
	return nil
}

// others are the namespaces that the flags name.
func (f *extcapFlags) others() []string { return slices.Concat(f.at, f.from) }

func (f *extcapFlags) runCapture(ctx context.Context) error {
	c := f.run
	c.Others = f.others()
	c.Version = version()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := extcap.Run(ctx, c, os.Stderr)
	if bad := new(dump.UsageError); errors.As(err, &bad) {
		return &exitError{exitUsage, err}
	}
	if err != nil {
		return &exitError{exitFailure, err}
	}
	return nil
}

// dirs returns the directories of the scripts.
func (f *extcapFlags) dirs() ([]string, error) {
	if f.dir != "" {
		return []string{f.dir}, nil
	}
	return extcap.Dirs()
}

// installScripts writes the scripts, and says which devices Wireshark would list now.
func (f *extcapFlags) installScripts(ctx context.Context) error {
	dirs, err := f.dirs()
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	for i, path := range f.at { // Wireshark has another working directory and environment
		if f.at[i], err = filepath.Abs(path); err != nil {
			return err
		}
	}
	for i, from := range f.from {
		spec, err := feed.Parse(from)
		if err != nil {
			return err
		}
		if spec, err = spec.WithAbsoluteFiles(); err != nil {
			return err
		}
		f.from[i] = spec.String()
	}
	paths, err := extcap.Install(dirs, program, f.others())
	for _, path := range paths {
		say("wrote %s", path)
	}
	if err != nil {
		return err
	}
	all, errs := extcap.List(ctx, f.others())
	for _, err := range errs {
		if !errors.Is(err, os.ErrNotExist) {
			say("%v", err)
		}
	}
	for _, i := range all {
		say("Wireshark lists %s", i.Name)
	}
	for _, path := range f.at {
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			say("--at %s: there is no such socket: Wireshark lists its devices once `rxring serve --at %s`, or a program with package attach, listens there", path, path)
		}
	}
	if len(all) == 0 {
		say("no device is offered now: start rxring serve, then refresh Wireshark's interfaces (F5)")
	}
	return nil
}

func (f *extcapFlags) uninstallScripts() error {
	dirs, err := f.dirs()
	if err != nil {
		return err
	}
	paths, err := extcap.Uninstall(dirs)
	for _, path := range paths {
		say("removed %s", path)
	}
	if err == nil && len(paths) == 0 {
		say("nothing is installed")
	}
	return err
}

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/bits"
	"net"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/cmd/rxring/internal/progress"
	"github.com/rxring/rxring/internal/printable"
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/interpose"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

func newRun() *cobra.Command {
	var (
		source    sourceFlags
		at        string
		quiet     bool
		noMlock   bool
		noProcNet bool
		keepUser  bool
		maxMemory int64
	)
	cmd := &cobra.Command{
		Use:   "run [flags] -- PROGRAM [ARGS]",
		Short: "Run an unmodified program on user-space receive rings",
		Long: `Run an unmodified program whose packet sockets (AF_PACKET) are served from user
space: it sees the devices that rxring feeds, and needs no privileges.

When the program ends, a report of its rings, and of what it sent, goes to standard
error. The exit code, or the signal, is the program's own; 127 when it was not found,
126 when it cannot be executed, 125 when this system does not let rxring run it, or
when nothing can be attached to with --at.

A capture file (--from file:PATH) begins when its readers are ready: when their sockets
have not changed for 500 ms (2 s in fanout groups), there are readers=N of them, and the
first is after=TIME old. It waits for slow readers, unless it has a speed. When all files
have been played and read, the programs that read them get SIGINT, as from Ctrl-C, and
rxring exits with 0; with stay the device stays, silent. now gives packets the present
time, for programs that compare it with the clock, such as suricata and argus.

With --at, the devices are those that another process offers at a unix socket: rxring
serve, or a program that uses package attach.`,
		Example: `  rxring run -- tcpdump
  rxring run -- tcpdump -i net0 -n -c 20 greater 60000
  rxring run --from streams:16 -- tshark -i net0 -c 100
  rxring run --from file:trace.pcapng -- tcpdump -n
  rxring run --name wg0 --quiet -- ngrep -d wg0 -n 5 ''
  rxring run --at /run/user/1000/wg0.sock -- tcpdump -i wg0 -n`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("run: no program given: want rxring run -- PROGRAM [ARGS], for instance rxring run -- tcpdump -i net0 -n -c 20")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg := interpose.Config{
				Args:    args,
				NoMlock: noMlock,

				NoProcNet: noProcNet,
				KeepUser:  keepUser,
				Logger:    slog.New(sayHandler{}),
			}
			ns, feeds, err := provide(cmd, &cfg, source, at, maxMemory, quiet)
			if err != nil {
				return err
			}
			before := ns.Devices()
			result, err := interpose.Run(cmd.Context(), cfg)
			devices := ns.Devices()
			if len(devices) == 0 { // their sources have ended
				devices = before
			}
			sourceErr := feeds.Close()
			if err != nil {
				return &exitError{exitCode(err), notFound(args[0], err)}
			}
			if !quiet {
				stderr := printable.Writer(os.Stderr)
				reportMissing(stderr, devices, feeds, result)
				report(stderr, result)
			}
			if sourceErr != nil {
				say("%v", sourceErr)
			}
			if endedByUs(result) {
				result.Signal, result.ExitCode = 0, 0
			}
			if result.Signal != 0 {
				dieOf(result.Signal)
				return &exitError{128 + int(result.Signal), nil} // a signal that this system does not die of
			}
			if result.ExitCode != 0 {
				return &exitError{result.ExitCode, nil}
			}
			if sourceErr != nil {
				return &exitError{exitFailure, nil}
			}
			return nil
		},
	}
	cmd.Flags().SetInterspersed(false) // the program's flags are the program's
	source.register(cmd)
	cmd.Flags().StringVar(&at, "at", "", "attach to the devices that another process offers at this unix socket, in the place of --from")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no report at the end")
	cmd.Flags().BoolVar(&noMlock, "no-mlock", false, "the program's mlockall succeeds and locks nothing, for programs that insist, such as netsniff-ng")
	cmd.Flags().BoolVar(&noProcNet, "no-procnet", false, "the program reads the system's files in /proc/net and /sys/class/net; opening files is then as fast as ever, and no signal interrupts it")
	cmd.Flags().BoolVar(&keepUser, "keep-user", false, "the program's setuid, setgid and setgroups succeed and change nothing; see docs/containers.md")
	cmd.Flags().Int64Var(&maxMemory, "max-memory", rxring.DefaultMaxMemory>>20, "bound on the memory of all rings together, in MiB")
	return cmd
}

// provide sets up what serves the program's packet sockets, and returns where its
// devices are, and what ends it.
func provide(cmd *cobra.Command, cfg *interpose.Config, source sourceFlags, at string, maxMemory int64, quiet bool) (*rxring.Namespace, io.Closer, error) {
	if cmd.Flags().Changed("at") {
		if err := alone(cmd, "at", "from", "name", "max-memory"); err != nil {
			return nil, nil, &exitError{exitUsage, err}
		}
		a, err := attachTo(cmd.Context(), at)
		if err != nil {
			return nil, nil, &exitError{exitNotRun, err}
		}
		cfg.At = a.client
		return a.client.Namespace(), a, nil
	}
	if maxMemory < 1 {
		return nil, nil, &exitError{exitUsage, fmt.Errorf("--max-memory %d: want at least 1 MiB", maxMemory)}
	}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: maxMemory << 20})
	failed := func(err error) { say("%v", err) }
	feeds, err := source.open(cmd.Context(), feed.Config{Namespace: ns, Patient: true, Failed: failed, Progress: replayBar(quiet)})
	if err != nil {
		return nil, nil, &exitError{exitUsage, err}
	}
	if err := feeds.start(); err != nil {
		return nil, nil, &exitError{exitNotRun, err}
	}
	cfg.Namespace, cfg.Interrupt = ns, feeds.interrupt
	return ns, feeds, nil
}

// replayBar draws how far a file is, nil if nobody would see it: on standard error, when
// that is a terminal that the program does not write its lines to.
func replayBar(quiet bool) func(done float64) {
	if quiet || !progress.IsTerminal(os.Stderr) || progress.IsTerminal(os.Stdout) {
		return nil
	}
	bar := progress.NewBar(os.Stderr)
	return func(done float64) {
		if bar.Set("replayed", done); done == 1 {
			bar.Clear()
		}
	}
}

// endedByUs reports whether the program died of the SIGINT that it got at the end of
// all files, or is a shell that says so of its last command.
func endedByUs(r interpose.Result) bool {
	return r.Interrupted && (r.Signal == syscall.SIGINT || r.ExitCode == 128+int(syscall.SIGINT))
}

// notFound is err, and where it is of a sniffer that is not installed, what to do.
func notFound(program string, err error) error {
	if !errors.Is(err, exec.ErrNotFound) {
		return err
	}
	switch program {
	case "tcpdump":
		return fmt.Errorf("tcpdump is not installed: install it (Debian: apt-get install tcpdump), or capture with `rxring dump`: %w", err)
	case "tshark", "ngrep", "suricata":
		return fmt.Errorf("%s is not installed: install it (Debian: apt-get install %[1]s): %w", program, err)
	case "dumpcap":
		return fmt.Errorf("dumpcap is not installed: install it (Debian: apt-get install wireshark-common): %w", err)
	}
	if meant, ok := suggest.Closest(program, sniffers); ok {
		return fmt.Errorf("%w: did you mean %s?", err, meant)
	}
	if info, err2 := os.Stat(program); err2 == nil && info.Mode().IsRegular() {
		return fmt.Errorf("%w: there is a file of that name here: ./%s runs it, and --from file:%[2]s replays it if it is a capture", err, program)
	}
	return err
}

// sniffers are programs whose names people mistype here.
var sniffers = []string{"tcpdump", "tshark", "dumpcap", "wireshark", "termshark", "ngrep", "suricata", "tcpflow", "nmap", "scapy"}

// exitCode is a shell's for a program that did not run.
func exitCode(err error) int {
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return exitNoProgram
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC), errors.Is(err, syscall.EISDIR):
		return exitNoExec
	}
	return exitNotRun
}

// reportMissing says which devices the program asked for in vain.
func reportMissing(w io.Writer, devices []*rxring.Device, feeds io.Closer, r interpose.Result) {
	var names []string
	for _, d := range devices {
		names = append(names, d.Name())
	}
	s, _ := feeds.(*sources) // nil: attached
	for _, m := range r.Missing {
		if s != nil && s.hasEnded(m) {
			fmt.Fprintf(w, "rxring: %s has ended (its file was played to the end); with the option stay it would stay, silent\n", m)
			continue
		}
		fmt.Fprintf(w, "rxring: there is no device %s: %s%s\n", m, suggest.Among(m, names), hostsOwn(m, s != nil))
	}
}

// hostsOwn tells a user of --from how to read an interface of the system, if that is what
// the program asked for.
func hostsOwn(device string, from bool) string {
	if _, err := net.InterfaceByName(device); err != nil || !from {
		return ""
	}
	return fmt.Sprintf("; --from iface:%s, as root, is the system's %[1]s", device)
}

// report says what became of the packets, a paragraph for each ring.
func report(w io.Writer, r interpose.Result) {
	for _, s := range r.Sockets {
		device, t := s.Device, s.Totals
		if device == "" {
			device = "all devices"
		}
		if s.Sent > 0 && !s.Unknown {
			frames := "frames"
			if s.Sent == 1 {
				frames = "frame"
			}
			fmt.Fprintf(w, "rxring: %s: %d %s sent\n", cmp.Or(s.SentThrough, device), s.Sent, frames)
		}
		if !s.HadRing {
			continue
		}
		g := s.Geometry
		if g.Version == tpacket.V3 {
			fmt.Fprintf(w, "rxring: %s: %v ring of %d blocks x %d bytes\n", device, g.Version, g.BlockNr, g.BlockSize)
		} else {
			fmt.Fprintf(w, "rxring: %s: %v ring of %d slots x %d bytes\n", device, g.Version, g.FrameNr, g.FrameSize)
		}
		if s.Unknown {
			fmt.Fprintf(w, "rxring: its counts are lost: they were on the other end of the connection that has ended\n")
			continue
		}
		for _, row := range []struct {
			n    uint64
			what string
		}{
			{t.Offered(), "packets offered"},
			{t.Filtered, "filtered out"},
			{t.Captured, "captured"},
		} {
			fmt.Fprintf(w, "rxring: %12d %s\n", row.n, row.what)
		}
		for why, n := range t.Drops.All() {
			if n > 0 || why == ring.Full || why == ring.Owned { // there, a zero is worth a line
				fmt.Fprintf(w, "rxring: %12d dropped: %s\n", n, why.Explanation())
			}
		}
		if s.Interim > 0 {
			fmt.Fprintf(w, "rxring: of those filtered out, %d passed before the program's own filter was in place\n", s.Interim)
		}
		if hint := slotHint(s); hint != "" {
			fmt.Fprintf(w, "rxring: %s\n", hint)
		}
	}
	if r.Omitted > 0 {
		fmt.Fprintf(w, "rxring: %d more sockets not listed\n", r.Omitted)
	}
}

// slotHint says what to do where packets were dropped because the few slots of a ring
// are far larger than the packets, "" elsewhere. libpcap sizes slots by the snapshot
// length, and on Ethernet alone by what the device says of its packets.
func slotHint(s interpose.SocketReport) string {
	const far = 4
	if s.Longest == 0 || s.Totals.Drops[ring.Full] == 0 {
		return ""
	}
	snaplen := uint32(1) << bits.Len32(s.Longest-1)
	if s.Geometry.FrameSize < far*max(snaplen, 256) {
		return ""
	}
	return fmt.Sprintf("its slots are far larger than its packets, the last of which had at most %d bytes: a snapshot length of %d (-s %d in tcpdump) makes more of them", s.Longest, snaplen, snaplen)
}

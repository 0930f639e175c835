package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/cmd/rxring/internal/progress"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/printable"
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/interpose"
)

// runFlags are the flags of run.
type runFlags struct {
	source    sourceFlags
	at        string
	quiet     bool
	noMlock   bool
	noProcNet bool
	keepUser  bool
	maxMemory int64 // MiB
}

func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] -- PROGRAM [ARGS]",
		Short: "Run an unmodified program on user-space receive rings",
		Long: `Run an unmodified program whose packet sockets (AF_PACKET) rxring serves in user
space. The program sees the devices of --from or --at, and needs no privileges.

When it ends, a report of its rings and of the frames that it sent is printed to
standard error. rxring exits with the program's exit code, or by the signal that
ended it; with 127 if the program was not found, 126 if it cannot be executed, and
125 if this system does not let rxring run it or --at cannot be attached to.

A capture file (--from file:PATH) begins when its readers are ready: when no socket has
been opened or changed for 500 ms (2 s in fanout groups), there are readers=N sockets,
and the first is after=TIME old. It waits for slow readers, unless it has a speed. When
all files have been played and read, the programs that read them receive SIGINT, as from
Ctrl-C, and rxring exits with 0. With stay, the device stays and delivers nothing more.
With now, packets have the present time, for programs that compare it with the clock,
such as suricata and argus.

A stream (--from pcap:... or exec:...) also begins when its readers are ready, and ends as a file
does. rxring stops reading it for up to a second while a reader is slow.

With --at, the devices are those that another process offers at a unix socket: rxring
serve, or a program that uses package attach.`,
		Example: `  rxring run -- tcpdump
  rxring run -- tcpdump -i net0 -n -c 20 greater 60000
  rxring run --from streams:16 -- tshark -i net0 -c 100
  rxring run --from file:trace.pcapng -- tcpdump -n
  tcpdump -i eth0 -U -w - | rxring run --from pcap:- -- tshark
  rxring run --from 'exec:ssh web1 tcpdump -i eth0 -U -w -' -- tcpdump -n
  rxring run --name wg0 --quiet -- ngrep -d wg0 -n 5 ''
  rxring run --at /run/user/1000/wg0.sock -- tcpdump -i wg0 -n`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("run: no program given: want rxring run -- PROGRAM [ARGS], for instance rxring run -- tcpdump -i net0 -n -c 20")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	cmd.Flags().SetInterspersed(false) // flags after PROGRAM are the program's
	f.source.register(cmd)
	cmd.Flags().StringVar(&f.at, "at", "", "attach to the devices that another process offers at this unix socket, or publishes by this name (rxring ps), instead of --from")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print no report at the end")
	cmd.Flags().BoolVar(&f.noMlock, "no-mlock", false, "the program's mlockall succeeds and locks nothing, for programs that insist on it, such as netsniff-ng")
	cmd.Flags().BoolVar(&f.noProcNet, "no-procnet", false, "the program sees the system's /proc/net and /sys/class/net; opening a file is then as fast as without rxring, and no signal interrupts it")
	cmd.Flags().BoolVar(&f.keepUser, "keep-user", false, "the program's setuid, setgid and setgroups succeed and change nothing; see docs/containers.md")
	cmd.Flags().Int64Var(&f.maxMemory, "max-memory", rxring.DefaultMaxMemory>>20, "limit on the memory of all rings together, in MiB")
	return cmd
}

func (f *runFlags) run(cmd *cobra.Command, args []string) error {
	cfg := interpose.Config{
		Args:      args,
		NoMlock:   f.noMlock,
		NoProcNet: f.noProcNet,
		KeepUser:  f.keepUser,
		Logger:    slog.New(sayHandler{}),
	}
	ns, feeds, err := f.provide(cmd, &cfg)
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
	if !f.quiet {
		stderr := printable.Writer(os.Stderr)
		reportMissing(stderr, devices, feeds, result)
		report(stderr, result)
		reportLosses(stderr, feeds)
	}
	if sourceErr != nil {
		say("%v", sourceErr)
	}
	if endedByUs(result) {
		result.Signal, result.ExitCode = 0, 0
	}
	switch {
	case result.Signal != 0:
		dieOf(result.Signal)
		return &exitError{128 + int(result.Signal), nil} // dieOf returned: the signal is not deadly here
	case result.ExitCode != 0:
		return &exitError{result.ExitCode, nil}
	case sourceErr != nil:
		return &exitError{exitFailure, nil}
	}
	return nil
}

// provide sets the namespace in cfg that serves the program's packet sockets. It returns the
// devices' namespace, and what closes their sources or the connection.
func (f *runFlags) provide(cmd *cobra.Command, cfg *interpose.Config) (*rxring.Namespace, io.Closer, error) {
	if cmd.Flags().Changed("at") {
		if err := alone(cmd, "at", "from", "name", "max-memory"); err != nil {
			return nil, nil, &exitError{exitUsage, err}
		}
		a, err := attachTo(cmd.Context(), f.at)
		if err != nil {
			return nil, nil, &exitError{exitNotRun, err}
		}
		cfg.At = a.client
		return a.client.Namespace(), a, nil
	}
	if f.maxMemory < 1 {
		return nil, nil, &exitError{exitUsage, fmt.Errorf("--max-memory %d: want at least 1 MiB", f.maxMemory)}
	}
	ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: f.maxMemory << 20})
	failed := func(err error) { say("%v", err) }
	feeds, err := f.source.open(cmd.Context(), feed.Config{Namespace: ns, Patient: true, Failed: failed, Progress: replayBar(f.quiet)})
	if errors.Is(err, fleet.ErrDenied) { // the program reports it as its own error
		say("%v", err)
		cfg.Namespace, cfg.Refused = ns, err
		return ns, newSources(), nil
	}
	if err != nil {
		return nil, nil, &exitError{exitUsage, err}
	}
	if err := feeds.start(); err != nil {
		return nil, nil, &exitError{exitNotRun, err}
	}
	cfg.Namespace, cfg.Interrupt = ns, feeds.interrupt
	if feeds.usesStdin() { // which the program must not read from, too
		if cfg.Stdin, err = os.Open(os.DevNull); err != nil {
			return nil, nil, &exitError{exitNotRun, errors.Join(err, feeds.Close())}
		}
	}
	return ns, feeds, nil
}

// replayBar draws the progress of a file on standard error. It is nil if that is no terminal,
// or if the program's output goes to a terminal, too.
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

// endedByUs reports whether the program died of the SIGINT that it received at the end of
// all files, or is a shell that reports so of its last command.
func endedByUs(r interpose.Result) bool {
	return r.Interrupted && (r.Signal == syscall.SIGINT || r.ExitCode == 128+int(syscall.SIGINT))
}

// notFound adds advice to an error about a program that does not exist.
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

// sniffers are names to suggest for a misspelled one.
var sniffers = []string{"tcpdump", "tshark", "dumpcap", "wireshark", "termshark", "ngrep", "suricata", "tcpflow", "nmap", "scapy"}

// exitCode returns a shell's exit code for a program that did not start.
func exitCode(err error) int {
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return exitNoProgram
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC), errors.Is(err, syscall.EISDIR):
		return exitNoExec
	}
	return exitNotRun
}

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/interpose"
	"github.com/rxring/rxring/tpacket"
)

func newRun() *cobra.Command {
	var (
		source    sourceFlags
		quiet     bool
		noMlock   bool
		maxMemory int64
	)
	cmd := &cobra.Command{
		Use:   "run [flags] -- PROGRAM [ARGS]",
		Short: "Run an unmodified program on user-space receive rings",
		Long: `Run an unmodified program whose packet sockets (AF_PACKET) are served from user
space: it sees the devices that rxring feeds, and needs no privileges.

When the program ends, a report of its rings, and of what it sent, goes to standard
error. The exit
code, or the signal, is the program's own; 127 when it was not found, 126 when
it cannot be executed, 125 when this system does not let rxring run it.`,
		Example: `  rxring run -- tcpdump
  rxring run -- tcpdump -i net0 -n -c 20 greater 60000
  rxring run --from streams:16 -- tshark -i net0 -c 100
  rxring run --name wg0 --quiet -- ngrep -d wg0 -n 5 ''`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("run: no program given: want rxring run -- PROGRAM [ARGS], for instance rxring run -- tcpdump -i net0 -n -c 20")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if maxMemory < 1 {
				return &exitError{exitUsage, fmt.Errorf("--max-memory %d: want at least 1 MiB", maxMemory)}
			}
			ns := rxring.NewNamespace(rxring.NamespaceConfig{MaxMemory: maxMemory << 20})
			_, start, err := source.open(ns)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			feed, err := start()
			if err != nil {
				return &exitError{exitNotRun, err}
			}
			result, err := interpose.Run(cmd.Context(), interpose.Config{
				Namespace: ns,
				Args:      args,
				NoMlock:   noMlock,
				Logf:      func(format string, a ...any) { fmt.Fprintf(os.Stderr, "rxring: "+format+"\n", a...) },
			})
			if err2 := feed.Close(); err == nil && err2 != nil {
				err = err2
			}
			if err != nil {
				return &exitError{exitCode(err), err}
			}
			if !quiet {
				report(os.Stderr, ns, result)
			}
			if result.Signal != 0 {
				dieOf(result.Signal)
				return &exitError{128 + int(result.Signal), nil} // a signal that this system does not die of
			}
			if result.ExitCode != 0 {
				return &exitError{result.ExitCode, nil}
			}
			return nil
		},
	}
	cmd.Flags().SetInterspersed(false) // the program's flags are the program's
	source.register(cmd)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no report at the end")
	cmd.Flags().BoolVar(&noMlock, "no-mlock", false, "the program's mlockall succeeds and locks nothing, for programs that insist, such as netsniff-ng")
	cmd.Flags().Int64Var(&maxMemory, "max-memory", rxring.DefaultMaxMemory>>20, "bound on the memory of all rings together, in MiB")
	return cmd
}

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

// report says what became of the packets, a paragraph for each ring.
func report(w io.Writer, ns *rxring.Namespace, r interpose.Result) {
	var names []string
	for _, d := range ns.Devices() {
		names = append(names, d.Name())
	}
	for _, m := range r.Missing {
		fmt.Fprintf(w, "rxring: no device %s here: there is %s\n", m, strings.Join(names, ", "))
	}
	for _, s := range r.Sockets {
		device, t := s.Device, s.Totals
		if device == "" {
			device = "all devices"
		}
		if s.Sent > 0 {
			frames := "frames"
			if s.Sent == 1 {
				frames = "frame"
			}
			fmt.Fprintf(w, "rxring: %s: %d %s sent\n", device, s.Sent, frames)
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
		for _, row := range []struct {
			n      uint64
			what   string
			always bool
		}{
			{t.Offered(), "packets offered", true},
			{t.Filtered, "filtered out", true},
			{t.Captured, "captured", true},
			{t.DroppedFull, "dropped: ring full", true},
			{t.DroppedOwned, "dropped: slot still owned by a slower writer", true},
			{t.DroppedReleasing, "dropped: slot about to be released", false},
			{t.DroppedOther, "dropped: no room for headers", false},
		} {
			if row.n > 0 || row.always {
				fmt.Fprintf(w, "rxring: %12d %s\n", row.n, row.what)
			}
		}
	}
	if r.Omitted > 0 {
		fmt.Fprintf(w, "rxring: %d more sockets not listed\n", r.Omitted)
	}
}

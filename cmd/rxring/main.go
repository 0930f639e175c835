// Command rxring runs packet sniffers, unmodified and without privileges, on
// receive rings that live in user space.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring/cmd/rxring/internal/serve"
	"github.com/rxring/rxring/internal/printable"
	"github.com/rxring/rxring/interpose"
)

func main() {
	interpose.Init() // never returns in the child that becomes the program
	os.Exit(run())
}

// Exit codes of rxring itself; run passes its program's on. Those of run for a
// program that did not start are a shell's.
const (
	exitFailure   = 1 // the command did not do what was asked
	exitUsage     = 2 // the command line is wrong
	exitNotRun    = 125
	exitNoExec    = 126
	exitNoProgram = 127
)

// exitError is an error with an exit code of its own. Err may be nil: then
// there is nothing to say.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// say writes a message of one line, which may hold text of other processes, to standard
// error. A line end within it, of a file's name for instance, is escaped.
func say(format string, args ...any) {
	sayLines(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", `\n`))
}

// sayLines is say for a message of several lines.
func sayLines(text string) {
	fmt.Fprintln(printable.Writer(os.Stderr), "rxring: "+text)
}

func run() int {
	err := checkLimits()
	if err == nil {
		err = newRoot().Execute()
	} else {
		err = &exitError{exitFailure, err}
	}
	if err == nil {
		return 0
	}
	var exit *exitError
	if !errors.As(err, &exit) { // cobra's own: unknown command, flag or argument count
		exit = &exitError{exitUsage, err}
	}
	var mistakes serve.ConfigError // one on each line
	switch {
	case errors.As(exit.err, &mistakes):
		sayLines(exit.err.Error())
	case exit.err != nil:
		say("%v", exit.err)
	}
	return exit.code
}

// moreCommands makes the commands that a build tag adds.
var moreCommands []func(root *cobra.Command) *cobra.Command

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "rxring",
		Short: "Linux's packet-socket receive ring, in user space",
		Long: `rxring runs tcpdump, tshark and other packet sniffers, unmodified and without
privileges, on receive rings that Go code writes.`,
		Example: `  # Debian's own tcpdump, packets that never leave this process:
  rxring run -- tcpdump -i net0 -n -c 20 greater 60000

  # capture 20000 packets, then check every byte of them:
  rxring run -- tcpdump -i net0 -B 4096 -c 20000 -w streams.pcap
  rxring verify streams.pcap

  # let other users read an interface, by rules, and what those rules allow:
  rxring serve --config /etc/rxring.toml
  rxring serve --check --config /etc/rxring.toml`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelp(root))
	root.AddCommand(newRun(), newDump(), newServe(), newTop(), newDevices(), newVerify(), newRace(), newVersion())
	for _, newCommand := range moreCommands {
		root.AddCommand(newCommand(root))
	}
	return root
}

// Command rxring runs packet sniffers, unmodified and without privileges, on
// receive rings that live in user space.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring/cmd/rxring/internal/reaper"
	"github.com/rxring/rxring/cmd/rxring/internal/serve"
	"github.com/rxring/rxring/internal/printable"
)

func main() {
	reaper.Init() // never returns in the supervisor of a command
	os.Exit(run())
}

// Exit codes of rxring itself. `rxring run` exits with its program's code and, if the program
// did not start, with a shell's.
const (
	exitFailure   = 1 // the command failed
	exitUsage     = 2 // the command line is wrong
	exitNotRun    = 125
	exitNoExec    = 126
	exitNoProgram = 127
)

// exitError is an error with its exit code. A nil err: nothing is printed.
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

// say prints a message of one line to standard error. It escapes what a terminal might
// interpret, and newlines: messages have text of other processes, and names of files.
func say(format string, args ...any) {
	sayLines(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", `\n`))
}

// sayLines prints a message of several lines.
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
	if !errors.As(err, &exit) { // cobra's: an unknown command or flag, or a wrong number of arguments
		exit = &exitError{exitUsage, err}
	}
	var mistakes serve.ConfigError // of several lines
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
		Example: `  # the system's tcpdump, on packets that never leave this process:
  rxring run -- tcpdump -i net0 -n -c 20 greater 60000

  # capture 20000 packets and check every byte of them:
  rxring run -- tcpdump -i net0 -B 4096 -c 20000 -w streams.pcap
  rxring verify streams.pcap

  # let other users read an interface by rules, and print what those rules allow:
  rxring serve --config /etc/rxring.toml
  rxring serve --check --config /etc/rxring.toml`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
	}
	asVersion := root.Flags().BoolP("version", "v", false, "print the version")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if *asVersion {
			return printVersion(cmd)
		}
		return cmd.Help()
	}
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelp(root))
	root.AddCommand(newRun(), newDump(), newServe(), newTop(), newDevices(), newHub(), newShip(), newPs(), newExtcap(), newVerify(), newRace(), newVersion())
	for _, newCommand := range moreCommands {
		root.AddCommand(newCommand(root))
	}
	return root
}

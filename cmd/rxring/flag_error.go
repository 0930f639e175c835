package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rxring/rxring/internal/suggest"
)

// flagError adds to an error about a command's flags what is allowed, the flag that was
// probably meant, and where the flags are listed.
func flagError(cmd *cobra.Command, err error) error {
	if args := os.Args[1:]; !cmd.HasParent() && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return knownCommand(cmd, args)
	}
	help := fmt.Sprintf("%s --help lists the flags", cmd.CommandPath())
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		return fmt.Errorf("--%s %q: want %s", f.Name, invalid.GetValue(), wantedValue(f.Value.Type()))
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		var flags []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { flags = append(flags, f.Name) })
		if flag, ok := suggest.Closest(unknown.GetSpecifiedName(), flags); ok {
			return fmt.Errorf("%w: did you mean --%s? %s", err, flag, help)
		}
	}
	return fmt.Errorf("%w: %s", err, help)
}

// wantedValue describes the values of a type of flag.
func wantedValue(typ string) string {
	switch typ {
	case "duration":
		return "a time, such as 30s or 5m"
	case "bool":
		return "true or false"
	case "int", "int64", "uint", "uint64":
		return "a whole number"
	}
	return "a value of type " + typ
}

// knownCommand refuses an unknown command.
func knownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			names = append(names, c.Name())
		}
	}
	return fmt.Errorf("unknown command %q: %swant %s: %s --help lists what they do", args[0], suggest.DidYouMean(args[0], names), suggest.Or(names), root.Name())
}

// newHelp returns the help command, which refuses unknown commands.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			switch {
			case err != nil:
				return err
			case cmd == root:
				err = knownCommand(root, rest)
			case len(rest) > 0:
				err = fmt.Errorf("help: %q: %s has no such command: want rxring help %s", rest[0], cmd.CommandPath(), strings.TrimPrefix(cmd.CommandPath(), root.Name()+" "))
			}
			if err != nil {
				return err
			}
			return cmd.Help()
		},
	}
}

// noArgs refuses arguments of a command that has only flags.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %q: takes no arguments: %s --help lists its flags", cmd.Name(), args[0], cmd.CommandPath())
}

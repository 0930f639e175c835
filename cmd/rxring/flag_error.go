package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rxring/rxring/internal/suggest"
)

// flagError is what is wrong with a command's flags: what would do, the flag that was
// meant, and where the flags are listed.
func flagError(cmd *cobra.Command, err error) error {
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

// wantedValue describes the values of a pflag type.
func wantedValue(typ string) string {
	switch typ {
	case "duration":
		return "a time, such as 30s or 5m"
	case "bool":
		return "true or false"
	case "int", "int64", "uint", "uint64":
		return "a number"
	}
	return "a value of type " + typ
}

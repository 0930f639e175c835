package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rxring/rxring/internal/suggest"
)

// flagError is what is wrong with a command's flags, with the flag that was meant and
// where the flags are listed.
func flagError(cmd *cobra.Command, err error) error {
	help := fmt.Sprintf("%s --help lists the flags", cmd.CommandPath())
	name, unknown := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !unknown {
		return fmt.Errorf("%w: %s", err, help)
	}
	var flags []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { flags = append(flags, f.Name) })
	if flag, ok := suggest.Closest(name, flags); ok {
		return fmt.Errorf("%w: did you mean --%s? %s", err, flag, help)
	}
	return fmt.Errorf("%w: %s", err, help)
}

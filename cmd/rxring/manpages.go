//go:build manpages

package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// The build tag manpages adds a command that writes the manual pages of all commands. It is
// not part of the program, since it needs a Markdown renderer.
func init() {
	moreCommands = append(moreCommands, func(root *cobra.Command) *cobra.Command {
		return &cobra.Command{
			Use:    "manpages DIR",
			Short:  "Write the manual pages into a directory",
			Hidden: true,
			Args:   cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error {
				root.DisableAutoGenTag = true
				root.CompletionOptions.HiddenDefaultCmd = true
				return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "rxring", Manual: "User Commands"}, args[0])
			},
		}
	})
}

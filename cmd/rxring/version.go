package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// packageVersion is the version of the package that rxring is built for, which a package
// build sets: -ldflags '-X main.packageVersion=0.1.0-1'.
var packageVersion string

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of rxring, the commit it was built from, and Go's version",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return printVersion(cmd) },
	}
}

func printVersion(cmd *cobra.Command) error {
	_, err := fmt.Fprintln(cmd.OutOrStdout(), version())
	return err
}

// version describes this executable in one line.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	return describeBuild(info, packageVersion)
}

// describeBuild returns a line such as
//
//	rxring v0.1.0, commit 0123456789ab (modified), go1.26.0 linux/amd64
//
// A module that was downloaded, as go install does, has no commit, and sources outside a
// repository have neither a version nor a commit.
func describeBuild(info *debug.BuildInfo, pkg string) string {
	line := "rxring " + info.Main.Version
	if info.Main.Version == "" {
		line += "(devel)"
	}
	if pkg != "" {
		line = "rxring " + pkg
	}
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if rev := settings["vcs.revision"]; rev != "" {
		line += ", commit " + rev[:min(len(rev), 12)]
		if settings["vcs.modified"] == "true" {
			line += " (modified)"
		}
	}
	return fmt.Sprintf("%s, %s %s/%s", line, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

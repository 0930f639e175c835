package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/dialer"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/internal/printable"
)

func newDevices() *cobra.Command {
	var (
		source sourceFlags
		at     string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "devices [--from SOURCE] [--name NAME] | --at PATH",
		Short: "List the devices that a program under 'rxring run' would see",
		Long: `List the devices that a program under 'rxring run' would see: those of --from or, with
--at, those that 'rxring serve' or a program with package attach offers to this user.`,
		Example: `  rxring devices
  rxring devices --from streams:16 --name wg0
  rxring devices --from 'nats://hub/*/*'
  rxring devices --at /run/rxring.sock
  rxring devices --at /run/rxring.sock --json | jq -r '.[].name'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var devices []attach.DeviceStatus
			var err error
			if cmd.Flags().Changed("at") {
				if err := alone(cmd, "at", "from", "name"); err != nil {
					return &exitError{exitUsage, err}
				}
				devices, err = offered(cmd.Context(), at)
			} else {
				devices, err = source.devices(cmd.Context())
			}
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(printable.JSONWriter(cmd.OutOrStdout()))
				e.SetIndent("", "  ")
				return e.Encode(devices)
			}
			return listDevices(cmd.OutOrStdout(), devices)
		},
	}
	source.register(cmd)
	cmd.Flags().StringVar(&at, "at", "", "list the devices that another process offers at this unix socket, or publishes by this name (rxring ps), instead of --from")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array, with the counters of each source")
	return cmd
}

// offered returns the devices that are offered at a unix socket.
func offered(ctx context.Context, path string) ([]attach.DeviceStatus, error) {
	c, err := dialer.Dial(ctx, path)
	if err != nil {
		return nil, &exitError{exitFailure, err}
	}
	defer c.Close()
	st, err := c.Status()
	if err != nil {
		return nil, &exitError{exitFailure, err}
	}
	return st.Devices, nil
}

// devices returns the devices that --from makes.
func (f *sourceFlags) devices(ctx context.Context) ([]attach.DeviceStatus, error) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	feeds, err := f.open(ctx, feed.Config{Namespace: ns})
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	defer feeds.Close()
	fedBy := make(map[*rxring.Device]string)
	for _, f := range feeds.List() {
		for _, d := range f.Devices() {
			fedBy[d] = f.Origin(d)
		}
	}
	var all []attach.DeviceStatus
	for _, d := range ns.Devices() {
		st := attach.StatusOf(d)
		st.Source = fedBy[d]
		all = append(all, st)
	}
	return all, nil
}

func listDevices(out io.Writer, devices []attach.DeviceStatus) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "INDEX\tNAME\tTYPE\tADDRESS\tMTU\tIP\tUP\tFED BY")
	for _, d := range devices {
		up := "no"
		if d.Up {
			up = "yes"
		}
		clean := func(s string) string { return printable.Text(cmp.Or(s, "-"), '?') } // text of another process
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", d.Index, clean(d.Name), clean(d.Type), clean(d.Addr), d.MTU,
			clean(strings.Join(d.Addrs, " ")), up, clean(d.Source))
	}
	return w.Flush()
}

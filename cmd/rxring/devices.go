package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/dialer"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/internal/printable"
)

func newDevices() *cobra.Command {
	var (
		source sourceFlags
		at     string
		asJSON bool
		probe  bool
	)
	cmd := &cobra.Command{
		Use:   "devices [--from SOURCE] [--name NAME] [--probe] | --at PATH",
		Short: "List the devices that a program under 'rxring run' would see",
		Long: `List the devices that a program under 'rxring run' would see: those of --from or, with
--at, those that 'rxring serve' or a program with package attach offers to this user. Of a
fleet's devices, the clock is their host's time minus this one's, with the largest error.

--probe also finds out whether a reader that is slow costs other readers of a fleet packets, as
at NATS servers without no_fast_producer_stall. It takes a second, sends 2 MiB at most to the
server, and has that keep 48 MiB meanwhile.`,
		Example: `  rxring devices
  rxring devices --from streams:16 --name wg0
  rxring devices --from 'nats://hub/*/*'
  rxring devices --from nats://nats.example --probe
  rxring devices --at /run/rxring.sock
  rxring devices --at /run/rxring.sock --json | jq -r '.[].name'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var devices []listedDevice
			var err error
			if cmd.Flags().Changed("at") {
				if err := alone(cmd, "at", "from", "name", "probe"); err != nil {
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
				err = e.Encode(devices)
			} else {
				err = listDevices(cmd.OutOrStdout(), devices)
			}
			if err == nil && probe {
				err = probeServers(cmd.Context(), source.from)
			}
			return err
		},
	}
	source.register(cmd)
	cmd.Flags().StringVar(&at, "at", "", "list the devices that another process offers at this unix socket, or publishes by this name (rxring ps), instead of --from")
	cmd.Flags().BoolVar(&probe, "probe", false, "find out whether slow readers cost others packets at a fleet's server")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array, with the counters of each source")
	return cmd
}

// offered returns the devices that are offered at a unix socket.
func offered(ctx context.Context, path string) (all []listedDevice, err error) {
	c, err := dialer.Dial(ctx, path)
	if err != nil {
		return nil, &exitError{exitFailure, err}
	}
	defer c.Close()
	st, err := c.Status()
	if err != nil {
		return nil, &exitError{exitFailure, err}
	}
	all = []listedDevice{}
	for _, d := range st.Devices {
		all = append(all, listedDevice{DeviceStatus: d})
	}
	return all, nil
}

// devices returns the devices that --from makes.
func (f *sourceFlags) devices(ctx context.Context) (all []listedDevice, err error) {
	ns := rxring.NewNamespace(rxring.NamespaceConfig{})
	feeds, err := f.open(ctx, feed.Config{Namespace: ns, Failed: func(err error) { say("%v", err) }})
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	defer feeds.Close()
	byDevice, clock := make(map[*rxring.Device]listedDevice), make(map[*rxring.Device]fleet.Clock)
	for _, f := range feeds.List() {
		maps.Copy(clock, f.Clocks(ctx))
		for _, d := range f.Devices() {
			l := listedDevice{DeviceStatus: attach.StatusOf(d), Recordings: f.Recordings(d)}
			l.Source = f.Origin(d)
			byDevice[d] = l
		}
	}
	all = []listedDevice{}
	for _, d := range ns.Devices() {
		l := byDevice[d]
		if c, ok := clock[d]; ok {
			l.Clock = &c
		}
		all = append(all, l)
	}
	return all, nil
}

// listedDevice is a device with what is printed beside its status.
type listedDevice struct {
	attach.DeviceStatus
	Clock      *fleet.Clock `json:"clock,omitempty"`      // of its host beside this one's; nil: this host, or not known
	Recordings []string     `json:"recordings,omitempty"` // names
}

func listDevices(out io.Writer, devices []listedDevice) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	clocks := slices.ContainsFunc(devices, func(d listedDevice) bool { return d.Clock != nil })
	heading := "INDEX\tNAME\tTYPE\tADDRESS\tMTU\tIP\tUP\t"
	if clocks {
		heading += "CLOCK\t"
	}
	fmt.Fprintln(w, heading+"FED BY")
	for _, d := range devices {
		up, clock := "no", ""
		if d.Up {
			up = "yes"
		}
		switch {
		case d.Clock != nil:
			clock = d.Clock.String() + "\t"
		case clocks:
			clock = "-\t"
		}
		fedBy := cmp.Or(d.Source, "-")
		if d.Recordings != nil {
			fedBy += ", recorded: " + strings.Join(d.Recordings, ", ")
		}
		clean := func(s string) string { return printable.Text(cmp.Or(s, "-"), '?') } // text of another process
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%s\t%s%s\n", d.Index, clean(d.Name), clean(d.Type), clean(d.Addr), d.MTU,
			clean(strings.Join(d.Addrs, " ")), up, clock, clean(fedBy))
	}
	return w.Flush()
}

package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring"
)

func newDevices() *cobra.Command {
	var source sourceFlags
	cmd := &cobra.Command{
		Use:   "devices [--from SOURCE] [--name NAME]",
		Short: "List the devices that a program under 'rxring run' would see",
		Example: `  rxring devices
  rxring devices --from streams:16 --name wg0`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ns := rxring.NewNamespace(rxring.NamespaceConfig{})
			if _, _, err := source.open(ns); err != nil {
				return &exitError{exitUsage, err}
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "INDEX\tNAME\tTYPE\tADDRESS\tMTU\tIP\tFED BY")
			for _, d := range ns.Devices() {
				typ, addr := "ethernet", ""
				if d.Type() == rxring.RawIP {
					typ, addr = "raw-ip", "-"
				} else {
					for i, b := range d.Addr() {
						if i > 0 {
							addr += ":"
						}
						addr += fmt.Sprintf("%02x", b)
					}
				}
				ip := "-"
				if as := d.Addrs(); len(as) > 0 {
					ip = strings.Trim(fmt.Sprint(as), "[]")
				}
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%s\n", d.Index(), d.Name(), typ, addr, d.MTU(), ip, source.from)
			}
			return w.Flush()
		},
	}
	source.register(cmd)
	return cmd
}

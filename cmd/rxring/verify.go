package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring/cmd/rxring/internal/verify"
)

func newVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify FILE...",
		Short: "Check every byte of captured streams for torn packets",
		Long: `Check a capture (pcap or pcapng) of the streams that 'rxring run' delivers by default.
Every 16 bytes of their payload name the stream and the position in it, so a packet that
two writers wrote to is found. Several files, such as tcpdump writes with -C or -G, are
checked as one capture.

Exits with 0 if no packet is torn, and with 1 if one is or the capture cannot be checked.`,
		Example: `  rxring run -- tcpdump -i net0 -B 4096 -c 20000 -w streams.pcap
  rxring verify streams.pcap
  rxring run -- tcpdump -i net0 -s 256 -C 5 -c 100000 -w rotated.pcap
  rxring verify rotated.pcap*`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("verify: no file given: want rxring verify FILE..., captures of the streams of rxring run")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := verify.Files(args...)
			if err == nil || r.Packets > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "packets=%d bytes=%d torn=%d\n", r.Packets, r.Bytes, r.Torn)
			}
			for _, t := range r.Tears {
				fmt.Fprintln(cmd.ErrOrStderr(), "rxring:", t)
			}
			if err != nil {
				return &exitError{exitFailure, err}
			}
			if r.Torn > 0 {
				return &exitError{exitFailure, fmt.Errorf("%s: %d of %d packets are torn", strings.Join(args, ", "), r.Torn, r.Packets)}
			}
			return nil
		},
	}
}

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
		Short: "Check every byte of captured streams: was a packet torn?",
		Long: `Check a capture (pcap or pcapng) of the streams that 'rxring run' feeds to its
device. Their payload says of every 16 bytes which stream and which place in it
they belong to, so a packet that two writers touched cannot hide. Several files,
such as tcpdump makes with -C or -G, are checked as one capture.

Exits 0 when no packet is torn, 1 when one is, or when the file cannot tell.`,
		Example: `  rxring run -- tcpdump -i net0 -B 4096 -c 20000 -w streams.pcap
  rxring verify streams.pcap
  rxring run -- tcpdump -i net0 -s 256 -C 5 -c 100000 -w rotated.pcap
  rxring verify rotated.pcap*`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("verify: no file given: want rxring verify FILE..., captures of what rxring run feeds to its device")
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

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring/cmd/rxring/internal/dump"
	"github.com/rxring/rxring/internal/printable"
)

// requestTriggers returns the triggers of a flight recorder besides packets, which are SIGUSR2
// and `rxring dump trigger`, until stop is called.
func requestTriggers(quiet bool) (requests <-chan dump.Request, stop func()) {
	all := make(chan dump.Request)
	signals := make(chan os.Signal, 1)
	notifyTrigger(signals)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-signals:
			case <-ctx.Done():
				return
			}
			select {
			case all <- dump.Request{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	dir, err := dump.RecorderDir()
	stopListening := func() {}
	if err == nil {
		stopListening, err = dump.ListenTrigger(dir, all)
	}
	if err != nil {
		stopListening = func() {}
		if !quiet {
			say("rxring dump trigger will not find this process, but SIGUSR2 will: %v", err)
		}
	}
	return all, func() {
		stopListening()
		cancel()
		<-ended
		signal.Stop(signals)
	}
}

func newTrigger() *cobra.Command {
	return &cobra.Command{
		Use:   "trigger [PID...]",
		Short: "Have flight recorders write their packets",
		Long: `Have flight recorders ('rxring dump --record') write the packets in their memory, and
print which files they have written. Without a PID, all that this user runs do so.`,
		Example: `  rxring dump trigger
  rxring dump trigger 4242`,
		RunE: func(cmd *cobra.Command, args []string) error { return trigger(cmd, args) },
	}
}

func trigger(cmd *cobra.Command, args []string) error {
	var pids []int
	for _, arg := range args {
		pid, err := strconv.Atoi(arg)
		if err != nil || pid < 1 {
			return &exitError{exitUsage, errors.New("trigger " + strconv.Quote(arg) + ": want the PID of a flight recorder, or none for all")}
		}
		pids = append(pids, pid)
	}
	dir, err := dump.RecorderDir()
	if err == nil && pids == nil {
		if pids, err = dump.Recorders(dir); err == nil && len(pids) == 0 {
			err = errors.New("this user runs no flight recorder: start one with rxring dump --record 64m -w FILE")
		}
	}
	var errs []error
	for _, pid := range pids {
		text, err := dump.Trigger(cmd.Context(), dir, pid)
		if errs = append(errs, err); err == nil {
			fmt.Fprintln(printable.Writer(cmd.OutOrStdout()), text)
		}
	}
	if err = errors.Join(append(errs, err)...); err != nil {
		return &exitError{exitFailure, err}
	}
	return nil
}

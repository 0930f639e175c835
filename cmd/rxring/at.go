package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/dialer"
)

// emptyAt refuses --at "", as a script with an unset variable passes it.
func emptyAt(cmd *cobra.Command, at string) error {
	if at == "" && cmd.Flags().Changed("at") {
		return &exitError{exitUsage, errors.New("--at \"\": want the path of a unix socket, such as /run/rxring.sock")}
	}
	return nil
}

// alone refuses flags that a given flag excludes.
func alone(cmd *cobra.Command, name string, others ...string) error {
	var beside []string
	for _, o := range others {
		if cmd.Flags().Changed(o) {
			beside = append(beside, "--"+o)
		}
	}
	if beside != nil {
		return fmt.Errorf("--%s and %s exclude each other: the process at that socket has its own devices and memory limit", name, strings.Join(beside, ", "))
	}
	return nil
}

// attachment is a client that prints why its connection ended.
type attachment struct {
	client  *attach.Client
	printed chan struct{} // closed when the reason is printed, or there is none to print
}

func attachTo(ctx context.Context, path string) (*attachment, error) {
	if path == "" {
		return nil, errors.New("--at: want the path of the unix socket that another process listens at")
	}
	c, err := dialer.Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	a := &attachment{c, make(chan struct{})}
	go func() {
		defer close(a.printed)
		<-c.Done()
		if err := c.Err(); !errors.Is(err, os.ErrClosed) {
			say("%v", err)
		}
	}()
	return a, nil
}

// Close closes the connection.
func (a *attachment) Close() error {
	err := a.client.Close()
	<-a.printed
	return err
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/internal/printable"
)

// psTimeout is how long ps waits for a process to answer.
const psTimeout = 3 * time.Second

func newPs() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the processes whose devices --at can name",
		Long: `List the namespaces that processes of this user publish by name, and that of 'rxring
serve' at its default socket, with the values of --at for them.

A program publishes its devices with package attach's Publish, where its operator has
set RXRING_PUBLISH=1 in its environment. The sockets are in $XDG_RUNTIME_DIR/rxring, for
root in /run/rxring.`,
		Example: `  rxring ps
  rxring run --at myvpn -- tcpdump -i wg0 -n
  rxring ps --json | jq -r '.[].devices[].name'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			offers, err := listOffers(cmd.Context())
			if err != nil {
				return &exitError{exitFailure, err}
			}
			if asJSON {
				e := json.NewEncoder(printable.JSONWriter(cmd.OutOrStdout()))
				e.SetIndent("", "  ")
				return e.Encode(offers)
			}
			if len(offers) == 0 {
				say("no process of this user publishes devices: set %s=1 in the environment of a program that uses package attach's Publish, or start `rxring serve`", attach.PublishEnv)
				return nil
			}
			return printOffers(cmd.OutOrStdout(), offers)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array, with the devices as of rxring devices --json")
	return cmd
}

// offer is a namespace that --at can name.
type offer struct {
	At      string                `json:"at"`
	PID     int                   `json:"pid,omitempty"`     // 0: not known
	Program string                `json:"program,omitempty"` // "": not known
	Path    string                `json:"path"`
	Devices []attach.DeviceStatus `json:"devices"`
	Sockets int                   `json:"sockets"`
	Error   string                `json:"error,omitempty"` // why the rest is not known
}

// listOffers returns what is offered, with the answers of the processes that offer it.
func listOffers(ctx context.Context) ([]*offer, error) {
	all, err := attach.ListPublished()
	if err != nil {
		return nil, err
	}
	offers := []*offer{}
	for i, p := range all {
		at := p.Name
		if i > 0 && all[i-1].Name == at || i+1 < len(all) && all[i+1].Name == at { // sorted by name
			at = p.String()
		}
		offers = append(offers, &offer{At: at, PID: p.PID, Program: programOf(p.PID), Path: p.Path, Devices: []attach.DeviceStatus{}})
	}
	if path, err := defaultAt(); err == nil {
		if _, err := os.Lstat(path); err == nil {
			offers = append(offers, &offer{At: path, Path: path, Devices: []attach.DeviceStatus{}})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, psTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, o := range offers {
		wg.Go(func() { o.ask(ctx) })
	}
	wg.Wait()
	return offers, nil
}

// ask asks the process for its devices and sockets.
func (o *offer) ask(ctx context.Context) {
	c, err := attach.Dial(ctx, o.Path)
	if err == nil {
		defer c.Close()
		defer context.AfterFunc(ctx, func() { c.Close() })() // a process that does not answer
		if pid := c.PID(); pid != 0 {
			o.PID, o.Program = pid, programOf(pid)
		}
		var st attach.Status
		if st, err = c.Status(); err == nil {
			o.Devices, o.Sockets = append(o.Devices, st.Devices...), len(st.Sockets)
			return
		}
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %v", psTimeout)
	}
	if p := new(os.PathError); errors.As(err, &p) {
		err = p.Err // the path is printed already
	}
	o.Error = err.Error()
}

// programOf returns the name of a process, "" if it is not known.
func programOf(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	program := strings.TrimSuffix(string(name), "\n")
	if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && program == "exe" { // it has executed /proc/self/exe
		first, _, _ := strings.Cut(string(args), "\x00")
		program = filepath.Base(first)
	}
	return program
}

func printOffers(out io.Writer, offers []*offer) error {
	clean := func(s string) string { return printable.Text(cmp.Or(s, "-"), '?') } // text of another process
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "AT\tPID\tPROGRAM\tSOCKETS\tDEVICES")
	for _, o := range offers {
		pid, sockets := "-", strconv.Itoa(o.Sockets)
		if o.PID != 0 {
			pid = strconv.Itoa(o.PID)
		}
		var names []string
		for _, d := range o.Devices {
			names = append(names, d.Name)
		}
		devices := clean(strings.Join(names, " "))
		if o.Error != "" {
			sockets, devices = "-", "("+clean(o.Error)+")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", clean(o.At), pid, clean(o.Program), sockets, devices)
	}
	return w.Flush()
}

package extcap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cmd/rxring/internal/dump"
	"github.com/rxring/rxring/internal/printable"
)

// Config has the flags with which Wireshark starts a capture.
type Config struct {
	Interface string
	Others    []string // further namespaces: sockets, and fleets as nats://SERVER
	FIFO      string   // path of the FIFO for the packets
	Filter    string
	Snaplen   string // bytes; "": whole packets
	BufferKiB string // size of the ring; "": a good one
	Modest    bool   // not promiscuous

	ControlIn, ControlOut string // paths of the toolbar's FIFOs; "": there is no toolbar

	Version string // of rxring, for the file's header
}

const (
	maxSnaplen       = 262144 // limits of capture.Config
	maxBufferKiB     = 1 << 20
	defaultBufferKiB = 4096
)

// parse parses the settings.
func (c Config) parse() (capture.Config, error) {
	snaplen, err := parseNumber("--snaplen", c.Snaplen, maxSnaplen, "bytes")
	if err != nil {
		return capture.Config{}, err
	}
	buffer, err := parseNumber("--buffer", c.BufferKiB, maxBufferKiB, "KiB")
	return capture.Config{Snaplen: snaplen, Buffer: buffer << 10, Promiscuous: !c.Modest}, err
}

func parseNumber(flag, text string, limit int, unit string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > limit {
		return 0, &dump.UsageError{Err: fmt.Errorf("%s %s: want 1 to %d %s", flag, text, limit, unit)}
	}
	return n, nil
}

// endTime bounds how long the last packets may wait for Wireshark to read, after it has ended
// the capture.
const endTime = 2 * time.Second

// openDevice opens a capture. It returns what closes it, too.
func (ns namespace) openDevice(ctx context.Context, device string, c capture.Config) (*dump.Input, func() error, error) {
	if ns.fleet {
		return ns.openFleetDevice(ctx, device, c)
	}
	in, err := dump.OpenAttached(ctx, ns.path, []string{device}, c)
	if err != nil {
		return nil, nil, err
	}
	return in, in.Close, nil
}

// Run captures until ctx ends, or Wireshark closes the FIFO. Without a toolbar it prints to stderr
// how many packets were dropped: tshark may end before it has read the file's last block, which
// says so.
func Run(ctx context.Context, c Config, stderr *os.File) error {
	t, err := openToolbar(c.ControlIn, c.ControlOut)
	if err != nil {
		return err
	}
	defer t.Close()
	// First, too: dumpcap has opened its end, and waits for ever if no program writes.
	fifo, err := dump.OpenFIFO(ctx, c.FIFO)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("--fifo %w", err)
	}
	defer fifo.Close()
	ns, device, err := find(c.Interface, c.Others)
	if err != nil {
		return err
	}
	cc, err := c.parse()
	if err != nil {
		return err
	}
	in, closeInput, err := ns.openDevice(ctx, device, cc)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer closeInput()

	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		begin := fmt.Sprintf("listening on %s at %s, filter %q", device, ns.at, c.Filter)
		t.show(ctx, begin, func() capture.Stats {
			s, _ := in.Handle.Stats() // with an error, the last known
			return s
		})
	})
	defer context.AfterFunc(ctx, func() { fifo.SetWriteDeadline(time.Now().Add(endTime)) })()

	config := dump.Config{Capture: cc, Expression: c.Filter, File: "-", Quiet: true, Version: c.Version}
	_, err = dump.Run(ctx, in, config, fifo, stderr)
	if s, _ := in.Handle.Stats(); s.Drops > 0 && t.in == nil {
		fmt.Fprintf(printable.Writer(stderr), "rxring: %s: dropped %s\n", device, dropText(s))
	}
	switch {
	case errors.Is(err, syscall.EPIPE): // Wireshark has closed the FIFO
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("--fifo %s: the last packets were not read within %v: %w", c.FIFO, endTime, err)
	}
	return err
}

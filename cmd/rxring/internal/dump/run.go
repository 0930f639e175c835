package dump

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/printable"
	"github.com/rxring/rxring/internal/suggest"
	"github.com/rxring/rxring/ring"
)

// Result counts the packets of a capture.
type Result struct {
	Began    bool   // false: it failed before it accepted packets
	Captured uint64 // written
	Dropped  uint64 // for lack of room in the ring, or before the device
	Files    int    // written; 0: lines of text

	Reasons ring.Drops // Dropped by reason; all zero for a kernel's ring
}

// packet is a packet to write.
type packet struct {
	device   *device
	time     int64 // nanoseconds since the Unix epoch
	len      int   // original length in bytes
	data     []byte
	outgoing bool
	comment  string // "": none
	index    uint32 // of the packets read, modulo 2^32; the first one is 1
}

// output writes packets. An error ends the capture.
type output interface {
	write(p *packet) error
	idle() error    // called when no packet is ready: flushes
	due() time.Time // when to call tick if no packet arrives before; zero: never
	tick() error
	close(capture.Stats) error
	files() int // number of files written
}

// dumper is one capture.
type dumper struct {
	Config
	in     *Input
	stderr *os.File
	out    output
	pipe   *os.File // to the reader of out, which may be a pipe; nil: none
	order  *orderer // nil: there is one device
	packet packet
	buffer []byte // for packets that are not written from the ring
	frame  cbpf.Packet
	start  time.Time
	bytes  int64  // of packets written
	read   uint64 // packets read from the ring, also those not written

	due      time.Time // the handle's deadline, set from output.due
	draining bool      // drain has set the deadline

	captured atomic.Uint64
}

// errEnough ends a capture after Config.Count packets.
var errEnough = errors.New("enough")

// Run captures from in until ctx ends or a limit of c is reached. It writes text, and the
// file "-", to stdout, and messages to stderr. The result is valid also with an error,
// which is why the capture ended early.
func Run(ctx context.Context, in *Input, c Config, stdout, stderr *os.File) (Result, error) {
	d := &dumper{Config: c, in: in, stderr: stderr}
	if err := d.begin(ctx, stdout); err != nil {
		return Result{}, err
	}
	if !d.Quiet {
		fmt.Fprintf(printable.Writer(stderr), "rxring: listening on %s, link type %s\n", in.Device, in.linkTypes())
		if len(in.Others) > 0 {
			fmt.Fprintf(printable.Writer(stderr), "rxring: other devices: %s: -i selects one\n", suggest.List(in.Others))
		}
	}
	stop := d.showProgress(stderr)
	err := d.capture(ctx)
	stop()
	stats, _ := in.Handle.Stats() // with an error, the last known
	if err2 := d.out.close(stats); err == nil {
		err = err2
	}
	return Result{Began: true, Captured: d.captured.Load(), Dropped: stats.Drops, Reasons: stats.Reasons, Files: d.out.files()}, in.explain(err)
}

// begin opens the output, and then attaches the filter that accepts packets.
func (d *dumper) begin(ctx context.Context, stdout *os.File) error {
	if formatOf(d.File).pcap {
		d.in.oneLinkType()
	}
	filter, err := d.in.compile(d.Expression, d.Capture.Snaplen)
	if errors.Is(err, syscall.EINVAL) {
		return &UsageError{err}
	}
	if err != nil {
		return err
	}
	if d.in.several != nil {
		d.order = newOrderer(d.in.Handle, d.Capture)
	}
	d.start = time.Now()
	if strings.HasPrefix(d.File, tcpScheme) {
		if d.out, err = newTCPOutput(ctx, d, d.stderr); err != nil {
			return err
		}
		d.start = time.Now()
	} else if d.File == "" {
		d.pipe = stdout
		d.out = newText(stdout, d.in.several != nil)
	} else if d.Record.Bytes > 0 {
		if d.out, err = newRecorder(d); err != nil {
			return err
		}
	} else if d.out, err = openFiles(ctx, d, stdout); err != nil {
		return err
	}
	if err := d.in.Handle.SetFilter(filter); err != nil {
		d.out.close(capture.Stats{})
		return d.in.explain(err)
	}
	return nil
}

// capture reads until the end, and then drains the ring.
func (d *dumper) capture(ctx context.Context) error {
	span := d.For
	if r := d.Rotation; r.Period > 0 && r.Files > 0 {
		all := r.Period * time.Duration(r.Files)
		if span == 0 || all < span {
			span = all
		}
	}
	if span > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, d.start.Add(span))
		defer cancel()
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if d.pipe != nil {
		wg.Go(func() {
			awaitReaderGone(ctx, d.pipe)
			cancel()
		})
	}
	if d.in.Start != nil {
		done, err := d.in.Start()
		if err != nil {
			return err
		}
		wg.Go(func() {
			select {
			case <-done:
				cancel()
			case <-ctx.Done():
			}
		})
	}
	err := d.receiveAll(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = d.drain()
	} else if errors.Is(err, syscall.ENETDOWN) { // packets in the ring are still valid
		if err2 := d.drain(); err2 != nil {
			err = err2
		}
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	return err
}

// receiveAll receives packets until there is an error. It waits while the device is down,
// and returns ENETDOWN when it has been removed.
func (d *dumper) receiveAll(ctx context.Context) error {
	present, removed := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer removed()
	down := false
	if s := d.in.several; s != nil && s.named { // their socket is not notified
		wg.Go(func() { d.awaitRemoval(present, removed) })
	}
	for {
		err := d.receive(present, math.MaxUint64)
		switch {
		case ctx.Err() == nil && present.Err() != nil:
			return explain.Errorf(syscall.ENETDOWN, "%s: %s removed", d.in.Device, d.in.were())
		case !errors.Is(err, syscall.ENETDOWN), errors.Is(err, errReclaimed), d.in.client != nil && d.in.client.Err() != nil:
			return err
		case !d.in.present():
			if d.in.Start != nil { // the source has removed it, and ends: its error says why
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(presentPoll):
				}
			}
			return fmt.Errorf("%s: %s removed: %w", d.in.Device, d.in.were(), err)
		}
		if !d.Quiet {
			fmt.Fprintf(printable.Writer(d.stderr), "rxring: %s is down: waiting for it to come up\n", d.in.Device)
		}
		if !down {
			down = true
			wg.Go(func() { d.awaitRemoval(present, removed) })
		}
	}
}

// presentPoll is the time between checks whether a device that went down still exists: when
// a device that is down is removed, its ring's reader is not notified.
const presentPoll = time.Second

// awaitRemoval calls removed when the device has been removed.
func (d *dumper) awaitRemoval(ctx context.Context, removed func()) {
	t := time.NewTicker(presentPoll)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !d.in.present() {
			removed()
			return
		}
	}
}

// drain refuses further packets, and reads those that were accepted before, which are in
// the ring or being copied into it.
func (d *dumper) drain() error {
	h := d.in.Handle
	d.draining = true
	if d.order != nil {
		d.order.flush, d.order.err = true, nil
	}
	h.SetFilter(rejectAll) // it fails only if no packet can arrive any more
	h.SetDeadline(time.Now().Add(drainTime))
	for {
		stats, err := h.Stats()
		left := stats.Packets - stats.Drops - d.read
		if err != nil { // the writers are gone, so no block will be handed over
			left = math.MaxUint64
			h.SetDeadline(time.Now())
		}
		if left == 0 {
			return nil
		}
		if d.order != nil && err == nil {
			d.order.rest = left - min(left, uint64(d.order.pending()))
		}
		err = d.receive(context.Background(), left)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, syscall.ENETDOWN) && !errors.Is(err, errReclaimed) && d.in.present(): // reported once, for a device that is down
		case err != nil:
			return err
		}
	}
}

// drainTime bounds the time that drain waits for accepted packets. A block is handed over
// after Config.Capture.Retire, which is much less, but late on a busy machine.
const drainTime = 5 * time.Second

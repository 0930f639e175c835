package dump

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
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

// Result is what became of the packets.
type Result struct {
	Began    bool   // packets were let in
	Captured uint64 // written
	Dropped  uint64 // did not get into the ring, or were lost before the device
	Files    int    // that were written; 0: lines of text

	Reasons ring.Drops // Dropped by reason, where that is known
}

// packet is what an output gets.
type packet struct {
	time     int64 // nanoseconds since the Unix epoch
	len      int   // as it was
	data     []byte
	outgoing bool
}

// output is where packets go. An error ends the capture.
type output interface {
	write(p *packet) error
	idle() error    // nothing more to write for now
	due() time.Time // when to call tick, though there is nothing to write; zero: never
	tick() error
	close(capture.Stats) error
	files() int
}

// dumper is one capture.
type dumper struct {
	Config
	in     *Input
	stderr *os.File
	out    output
	own    *cbpf.Filter
	packet packet
	copy   []byte // of a packet whose bytes must not lie in the ring
	frame  cbpf.Packet
	start  time.Time
	read   uint64 // packets, whatever became of them

	due      time.Time // the handle's deadline: the output's
	draining bool      // the deadline is drain's own

	captured atomic.Uint64
}

// errEnough ends a capture that has all that was asked for.
var errEnough = errors.New("enough")

// Run captures from in until ctx ends, or all that was asked for is there. Text goes
// to stdout, and so does file "-"; what a person is told meanwhile, to stderr. Its
// error is why the capture ended too early, with a result all the same.
func Run(ctx context.Context, in *Input, c Config, stdout, stderr *os.File) (Result, error) {
	d := &dumper{Config: c, in: in, stderr: stderr}
	if err := d.begin(stdout); err != nil {
		return Result{}, err
	}
	if !d.Quiet {
		fmt.Fprintf(printable.Writer(stderr), "rxring: listening on %s, link type %v\n", in.Device, in.link)
		if len(in.Others) > 0 {
			fmt.Fprintf(printable.Writer(stderr), "rxring: not on %s: -i chooses another device\n", suggest.List(in.Others))
		}
	}
	stop := d.watch(stderr)
	err := d.capture(ctx)
	stop()
	stats, _ := in.Handle.Stats() // the last that is known
	if err2 := d.out.close(stats); err == nil {
		err = err2
	}
	return Result{Began: true, Captured: d.captured.Load(), Dropped: stats.Drops, Reasons: stats.Reasons, Files: d.out.files()}, in.over(err)
}

// begin makes the output, and lets packets in.
func (d *dumper) begin(stdout *os.File) error {
	f, err := d.in.compile(d.Expression, d.Capture.Snaplen)
	if errors.Is(err, syscall.EINVAL) {
		return &UsageError{err}
	}
	if err != nil {
		return err
	}
	d.own = f.own
	d.start = time.Now()
	if d.File == "" {
		d.out = newText(stdout, d.in.link)
	} else if d.out, err = newFiles(d, stdout); err != nil {
		return err
	}
	if err := d.in.Handle.SetFilter(f.socket); err != nil {
		d.out.close(capture.Stats{})
		return d.in.over(err)
	}
	return nil
}

// capture reads until the end, and then what is left in the ring.
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if d.in.Start != nil {
		done, err := d.in.Start()
		if err != nil {
			return err
		}
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Go(func() {
			select {
			case <-done:
				cancel()
			case <-ctx.Done():
			}
		})
	}
	err := d.takeAll(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = d.drain()
	} else if errors.Is(err, syscall.ENETDOWN) { // what is in the ring is still good
		if err2 := d.drain(); err2 != nil {
			err = err2
		}
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	return err
}

// takeAll takes packets until there is an error. That the device is down is none, as
// long as it is there.
func (d *dumper) takeAll(ctx context.Context) error {
	taking, gone := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer gone()
	down := false
	for {
		err := d.take(taking, math.MaxUint64)
		switch {
		case ctx.Err() == nil && taking.Err() != nil:
			return explain.Errorf(syscall.ENETDOWN, "%s: the device was removed", d.in.Device)
		case !errors.Is(err, syscall.ENETDOWN), errors.Is(err, errTakenBack), d.in.client != nil && d.in.client.Err() != nil:
			return err
		case !d.in.present():
			return fmt.Errorf("%s: the device was removed: %w", d.in.Device, err)
		}
		if !d.Quiet {
			fmt.Fprintf(printable.Writer(d.stderr), "rxring: %s is down: waiting until it is up again\n", d.in.Device)
		}
		if !down {
			down = true
			wg.Go(func() { d.awaitRemoval(taking, gone) })
		}
	}
}

// presentEvery is how often it is looked whether a device that was down is there still:
// the ring of one that was down when it was removed says nothing.
const presentEvery = time.Second

// awaitRemoval calls gone when the device is not there any more.
func (d *dumper) awaitRemoval(ctx context.Context, gone func()) {
	t := time.NewTicker(presentEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !d.in.present() {
			gone()
			return
		}
	}
}

// drain reads what is in the ring, or on its way there: as many packets as were let
// in. Nothing else comes in.
func (d *dumper) drain() error {
	h := d.in.Handle
	d.draining = true
	h.SetFilter(nothing) // an error: nothing comes in at all
	h.SetDeadline(time.Now().Add(drainTime))
	for {
		stats, err := h.Stats()
		left := stats.Packets - stats.Drops - d.read
		if err != nil { // nobody hands over blocks any more
			left = math.MaxUint64
			h.SetDeadline(time.Now())
		}
		if left == 0 {
			return nil
		}
		err = d.take(context.Background(), left)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, syscall.ENETDOWN) && !errors.Is(err, errTakenBack) && d.in.present(): // it was down before
		case err != nil:
			return err
		}
	}
}

// drainTime is how long what was let in may take to be handed over. A block's time
// (Config.Capture.Retire) is much less; on a busy machine it may be late.
const drainTime = 5 * time.Second

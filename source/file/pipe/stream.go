package pipe

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/delivery"
)

// settleTime is how long Open waits for another interface after one was described: a program
// that captures on several describes them together.
const settleTime = 100 * time.Millisecond

// Stream is a stream of which the first interfaces are known. Its methods may be called
// concurrently.
type Stream struct {
	ctx  context.Context // until Close
	stop context.CancelFunc
	done chan struct{} // closed once nothing more will be delivered
	err  error         // valid once done is closed

	changed chan struct{} // receives a value when an interface was described
	begun   chan struct{} // closed at the first packet, or at the end if that comes before
	ended   error         // valid once begun is closed: the error that ended the stream without a packet
	started chan struct{} // closed by Source.Start

	mu         sync.Mutex
	in         io.Closer
	interfaces []described // of all connections; appended by run
	source     *Source     // the one that was started

	batch    delivery.Batch // used by run
	delivers bool           // used by run: begin has returned
	counts   counts
	extras   capfile.Extras
	leftOut  error // the extras that had no room; used by run
}

// Open reads in up to the description of its first interfaces, or until ctx ends. Its error is
// ctx's or in's, or says what is wrong with the stream: see package capfile. in's Close must end
// a Read that blocks. The stream closes in; after an error it has been closed.
func Open(ctx context.Context, in io.ReadCloser) (*Stream, error) {
	s := &Stream{
		done:    make(chan struct{}),
		changed: make(chan struct{}, 1),
		begun:   make(chan struct{}),
		started: make(chan struct{}),
		in:      in,
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.batch.Context, s.batch.Counts = s.ctx, &s.counts.Counts
	go s.run(in)
	err := s.awaitInterfaces(ctx)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// awaitInterfaces returns when the stream's first interfaces are known.
func (s *Stream) awaitInterfaces(ctx context.Context) error {
	settled := time.NewTimer(0)
	settled.Stop()
	for {
		select {
		case <-s.changed:
			settled.Reset(settleTime)
		case <-settled.C:
			return nil
		case <-s.begun:
			return s.ended
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Extras returns what a pcapng stream has besides packets: secrets, names and the comments of
// sections. Those that precede a packet are there when it is delivered. A reader of the devices
// does not see them.
func (s *Stream) Extras() *capfile.Extras { return &s.extras }

// missExtras reports extras that had no room: at once, or when the source is started.
func (s *Stream) missExtras(err error) {
	if !s.delivers {
		s.leftOut = err
		return
	}
	s.source.failed(err)
}

// Close ends the stream, and returns once nothing more will be delivered. Its error is why the
// stream had ended before; nil if that was its end. It may be called more than once.
func (s *Stream) Close() error {
	s.stop()
	s.mu.Lock()
	in := s.in
	s.mu.Unlock()
	in.Close() // without the lock: a command may take seconds to end, and Devices must not wait for it
	<-s.done
	return s.err
}

// run reads the stream and, if it can be opened again, those that follow it.
func (s *Stream) run(in io.ReadCloser) {
	defer close(s.done)
	err := s.read(in)
	in.Close()
	if !s.hasBegun() {
		s.ended = err
		close(s.begun)
	}
	select {
	case <-s.started:
	case <-s.ctx.Done():
		return
	}
	if s.source.cfg.Reopen != nil {
		err = s.reopen(err)
	}
	if s.ctx.Err() == nil {
		s.err = err
	}
}

func (s *Stream) hasBegun() bool {
	select {
	case <-s.begun:
		return true
	default:
		return false
	}
}

// Time between attempts to open the stream again: it doubles while no packet is delivered.
const (
	minRetry = 100 * time.Millisecond
	maxRetry = 5 * time.Second
)

// reopen opens the stream again and again, and reads it. err is why the first one ended.
func (s *Stream) reopen(err error) error {
	reported := ""
	wait := minRetry
	for {
		if err != nil && s.ctx.Err() == nil && err.Error() != reported {
			reported = err.Error()
			s.source.failed(err)
		}
		if err := delivery.Sleep(s.ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, maxRetry)
		var in io.ReadCloser
		if in, err = s.source.cfg.Reopen(s.ctx); err != nil {
			continue
		}
		if !s.replaceInput(in) {
			return delivery.ErrStopped
		}
		s.counts.reopened.Add(1)
		before := s.counts.Packets.Load()
		err = s.read(in)
		in.Close()
		if s.counts.Packets.Load() > before {
			wait, reported = minRetry, ""
		}
	}
}

// replaceInput makes Close close in. It returns false, with in closed, if the stream is closed.
func (s *Stream) replaceInput(in io.Closer) bool {
	s.mu.Lock()
	s.in = in
	s.mu.Unlock()
	if s.ctx.Err() != nil { // Close may have seen the input before
		in.Close()
		return false
	}
	return true
}

// read reads in to its end, and delivers its packets.
func (s *Stream) read(in io.Reader) error {
	r, err := capfile.NewStreamReader(flushing{in, &s.batch})
	if err != nil {
		return err
	}
	defer r.Close()
	c := connection{s: s, count: make(map[likeness]int)}
	for i, in := range r.Interfaces() {
		c.describe(i, in)
	}
	events := capfile.Events{Interface: c.describe, Stats: c.lost}
	s.extras.Collect(&events, s.missExtras)
	r.SetEvents(events)
	for {
		p, err := r.Next()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return errors.Join(s.batch.Flush(), err)
		}
		if !s.delivers {
			if err := s.begin(); err != nil {
				return err
			}
		}
		if err := c.deliver(&p); err != nil {
			return err
		}
	}
}

// begin waits until the source is started and its readers are ready.
func (s *Stream) begin() error {
	if !s.hasBegun() {
		close(s.begun)
	}
	select {
	case <-s.started:
	case <-s.ctx.Done():
		return delivery.ErrStopped
	}
	if err := s.source.awaitReaders(s.ctx); err != nil {
		return err
	}
	s.batch.Now, s.batch.Room = s.source.cfg.Now, s.source.cfg.Room
	s.delivers = true
	if s.leftOut != nil {
		s.source.failed(s.leftOut)
	}
	return nil
}

// flushing delivers the batch before it reads, since a Read may block.
type flushing struct {
	in    io.Reader
	batch *delivery.Batch
}

func (f flushing) Read(b []byte) (int, error) {
	if err := f.batch.Flush(); err != nil {
		return 0, err
	}
	return f.in.Read(b)
}

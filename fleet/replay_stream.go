package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rxring/rxring/source/file/delivery"
)

// recordStream reads the messages of a stream in order, up to those that it had when it was
// opened. It requests few at a time: what is not read yet stays in the stream. It must not be used
// concurrently.
type recordStream struct {
	streamReader
	name   string // of the recording
	failed func(error)

	since      time.Time
	last       uint64      // sequence number of the last message
	lastHeader nats.Header // its header; nil: there was none
	firstTime  time.Time   // of the first message at open, if since is not zero
	late       bool        // messages since the time wanted were deleted before open

	held     jetstream.Msg             // the first message, read by open; nil: none, or it was returned
	heldGap  bool                      // of held
	at       uint64                    // sequence number of the last message read; 0: none
	messages jetstream.MessagesContext // nil: none is open
	received uint64                    // by messages
}

const (
	// ahead is how many messages are requested ahead.
	ahead = 8
	// quietStream is the time without a message after which another consumer is made.
	quietStream = time.Second
)

// open finds the last message, and reads the first one: what is deleted from then on is known.
func (s *recordStream) open(ctx context.Context, since time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, streamTime)
	defer cancel()
	s.since = since
	last, err := s.one(ctx, jetstream.DeliverLastPolicy)
	if err != nil || last == nil {
		return err
	}
	meta, err := last.Metadata()
	if err != nil {
		return err
	}
	s.last, s.lastHeader = meta.Sequence.Stream, last.Headers()
	if meta.Timestamp.Before(since) {
		s.at = s.last
		return nil
	}
	if !since.IsZero() {
		if err := s.findFirst(ctx); err != nil {
			return err
		}
	}
	s.held, s.heldGap, err = s.read(ctx)
	return err
}

// findFirst finds out what is deleted already.
func (s *recordStream) findFirst(ctx context.Context) error {
	m, err := s.one(ctx, jetstream.DeliverAllPolicy)
	if err != nil || m == nil {
		return err
	}
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	s.firstTime = meta.Timestamp
	s.late = meta.Sequence.Stream > 1 && s.firstTime.After(s.since)
	return nil
}

// next returns the next message, nil after the last one. gap says that messages between it, or the
// end, and the one before were deleted.
func (s *recordStream) next(ctx context.Context) (m jetstream.Msg, gap bool, err error) {
	if m := s.held; m != nil {
		s.held = nil
		return m, s.heldGap, nil
	}
	return s.read(ctx)
}

func (s *recordStream) read(ctx context.Context) (m jetstream.Msg, gap bool, err error) {
	for {
		if s.at >= s.last {
			return nil, false, nil
		}
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		if s.messages == nil {
			switch err := s.consume(ctx); {
			case err == errNoneLeft:
				s.at = s.last
				return nil, true, nil
			case errors.Is(err, jetstream.ErrStreamNotFound):
				return nil, false, errDeleted
			case errors.Is(err, ErrDenied):
				return nil, false, err
			case err != nil:
				s.failed(fmt.Errorf("it cannot be read, and is tried again: %w", err))
				delivery.Sleep(ctx, retryTime)
				continue
			}
		}
		m, err := s.receive(ctx)
		if err != nil {
			s.close() // the next consumer finds out whether any are left
			continue
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, false, err
		}
		if s.received++; meta.Sequence.Consumer != s.received {
			s.close() // one was lost on its way: they are still in the stream
			continue
		}
		if gap = meta.Sequence.Stream != s.at+1; meta.Sequence.Stream > s.last {
			s.at = s.last
			return nil, true, nil
		}
		s.at = meta.Sequence.Stream
		return m, gap, nil
	}
}

// receive waits for a message.
func (s *recordStream) receive(ctx context.Context) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, quietStream)
	defer cancel()
	return s.messages.Next(jetstream.NextContext(ctx))
}

// errNoneLeft says that all messages up to the last one were deleted.
var errNoneLeft = errors.New("no message is left")

// consume requests the messages after the last one that was read.
func (s *recordStream) consume(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, streamTime)
	defer cancel()
	var c jetstream.ConsumerConfig
	switch {
	case s.at > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.at+1
	case !s.since.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.since
	}
	consumer, err := s.consumer(ctx, c)
	if err != nil {
		return err
	}
	if consumer.CachedInfo().NumPending == 0 {
		return errNoneLeft
	}
	s.received = 0
	s.messages, err = consumer.Messages(jetstream.PullMaxMessages(ahead))
	return err
}

func (s *recordStream) close() {
	if s.messages != nil {
		s.messages.Stop()
		s.messages = nil
	}
}

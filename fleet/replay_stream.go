package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rxring/rxring/source/file/delivery"
)

// recordStream reads the messages of a stream in order, up to those that it had when it was
// opened. It requests few at a time: what is not read yet stays in the stream. It must not be used
// concurrently.
type recordStream struct {
	info   RecordingInfo
	js     jetstream.JetStream
	failed func(error)

	since      time.Time
	last       uint64      // sequence number of the last message
	lastHeader nats.Header // its header; nil: it was deleted before
	firstTime  time.Time   // of the first message at open
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
	// quietStream is the time without a message after which the stream is inspected.
	quietStream = time.Second
	// inactiveTime is how long the server keeps a consumer that requests nothing.
	inactiveTime = time.Minute
)

func newRecordStream(nc *nats.Conn, info RecordingInfo) (s recordStream, err error) {
	s.info = info
	if strings.ContainsAny(info.Domain, ". *>\t\r\n") {
		return s, fmt.Errorf("recording %q: domain %q: want that of a JetStream server: is its host's rxring of another version?", info.Name, info.Domain)
	}
	if info.Domain == "" {
		s.js, err = jetstream.New(nc)
	} else {
		s.js, err = jetstream.NewWithDomain(nc, info.Domain)
	}
	if err != nil {
		return s, fmt.Errorf("recording %q: %w", info.Name, err)
	}
	return s, nil
}

// open finds the last message, and reads the first one: what is deleted from then on is known.
func (s *recordStream) open(ctx context.Context, since time.Time) (err error) {
	ctx, cancel := context.WithTimeout(ctx, streamTime)
	defer cancel()
	stream, err := s.js.Stream(ctx, s.info.Stream)
	if err != nil {
		return err
	}
	st := stream.CachedInfo().State
	s.since, s.last, s.firstTime = since, st.LastSeq, st.FirstTime
	s.late = st.FirstSeq > 1 && st.FirstTime.After(since)
	if st.Msgs == 0 || st.LastTime.Before(since) {
		s.at = s.last
		return nil
	}
	m, err := stream.GetMsg(ctx, s.last)
	if err != nil {
		return err
	}
	s.lastHeader = m.Header
	s.held, s.heldGap, err = s.read(ctx)
	return err
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
			if err := s.consume(ctx); err != nil {
				if errors.Is(err, jetstream.ErrStreamNotFound) {
					return nil, false, errDeleted
				}
				s.failed(fmt.Errorf("it cannot be read, and is tried again: %w", err))
				delivery.Sleep(ctx, retryTime)
				continue
			}
		}
		m, err := s.receive(ctx)
		if err != nil {
			s.close()
			gone, err := s.gone(ctx)
			if gone {
				s.at = s.last
				return nil, true, nil
			}
			if err != nil {
				s.failed(fmt.Errorf("it cannot be read, and is tried again: %w", err))
				delivery.Sleep(ctx, retryTime)
			}
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

// consume requests the messages after the last one.
func (s *recordStream) consume(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, streamTime)
	defer cancel()
	c := jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: inactiveTime}
	switch {
	case s.at > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.at+1
	case !s.since.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.since
	}
	consumer, err := s.js.CreateConsumer(ctx, s.info.Stream, c)
	if err != nil {
		return err
	}
	s.received = 0
	s.messages, err = consumer.Messages(jetstream.PullMaxMessages(ahead))
	return err
}

// gone reports whether no message up to the last one is left.
func (s *recordStream) gone(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, streamTime)
	defer cancel()
	stream, err := s.js.Stream(ctx, s.info.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil // consume reports it
	}
	if err != nil {
		return false, err
	}
	st := stream.CachedInfo().State
	return st.Msgs == 0 || st.FirstSeq > s.last, nil
}

func (s *recordStream) close() {
	if s.messages != nil {
		s.messages.Stop()
		s.messages = nil
	}
}

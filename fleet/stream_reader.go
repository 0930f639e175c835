package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rxring/rxring/internal/explain"
)

// streamReader reads the messages of one subject, which may have wildcards, of a JetStream stream.
// It uses nothing but consumers for this subject, which NATS permissions can allow by subject: so a
// user reads the recordings of some classes, and of no others.
type streamReader struct {
	nc              *nats.Conn
	js              jetstream.JetStream
	stream, subject string
}

// inactiveTime is how long the server keeps a consumer that requests nothing.
const inactiveTime = time.Minute

// newStreamReader returns a reader of a stream in a domain; "" is that of nc's server.
func newStreamReader(nc *nats.Conn, domain, stream, subject string) (s streamReader, err error) {
	s = streamReader{nc: nc, stream: stream, subject: subject}
	if domain == "" {
		s.js, err = jetstream.New(nc)
	} else {
		s.js, err = jetstream.NewWithDomain(nc, domain)
	}
	return s, err
}

// maxDomain is the length of the longest name of a domain, in bytes: Domain of a name of maxToken.
const maxDomain = len("rxring-") + 3*maxToken

// newRecordingReader returns a reader of a host's recording.
func newRecordingReader(nc *nats.Conn, q *Query, host, device string, info *RecordingInfo) (s streamReader, err error) {
	if err := checkName("recording", info.Name); err != nil {
		return s, err
	}
	if len(info.Domain) > maxDomain || strings.ContainsAny(info.Domain, ". *>\t\r\n") {
		return s, fmt.Errorf("recording %q: domain %.40q: want that of a JetStream server: is its host's rxring of another version?", info.Name, info.Domain)
	}
	s, err = newStreamReader(nc, info.Domain, info.Stream, recordSubject(orFleet(q.Fleet), host, device, orClass(q.Class), info.Name))
	if err != nil {
		return s, fmt.Errorf("recording %q: %w", info.Name, err)
	}
	return s, nil
}

// consumer creates a consumer of c's policy. Its name is a secret, by which its creator alone
// requests messages.
func (s *streamReader) consumer(ctx context.Context, c jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	c.Name, c.FilterSubject = rand.Text(), s.subject
	c.AckPolicy, c.MemoryStorage, c.Replicas, c.InactiveThreshold = jetstream.AckNonePolicy, true, 1, inactiveTime
	consumer, err := s.js.CreateConsumer(ctx, s.stream, c)
	if errors.Is(err, context.DeadlineExceeded) {
		if refused := s.nc.LastError(); errors.Is(refused, nats.ErrPermissionViolation) && strings.Contains(refused.Error(), c.Name) {
			return nil, explain.Errorf(ErrDenied, "the NATS server does not allow this user consumers for %s: ask who runs it, or want another class", s.subject)
		}
	}
	return consumer, err
}

// one returns the first message that a policy selects; nil if there is none.
func (s *streamReader) one(ctx context.Context, policy jetstream.DeliverPolicy) (jetstream.Msg, error) {
	c, err := s.consumer(ctx, jetstream.ConsumerConfig{DeliverPolicy: policy})
	if err != nil || c.CachedInfo().NumPending == 0 {
		return nil, err
	}
	return c.Next(jetstream.FetchContext(ctx))
}

package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rxring/rxring/source/file/delivery"
)

// appender appends batches to a stream: each once, and in order. Several are on their way at a
// time, each with the sequence number that the stream must have before it. So when one is not
// stored, none after it is, and all are published again. It must not be used concurrently.
type appender struct {
	js      jetstream.JetStream
	stream  string
	subject string
	session string
	log     *slog.Logger

	last    uint64     // sequence number of the newest batch
	pending []*unacked // the oldest first
	failed  bool       // the last attempt
}

// unacked is a batch that the stream has not acknowledged.
type unacked struct {
	msg     nats.Msg
	number  uint64 // of the batch in its session
	packets int
	seq     uint64 // of the message in the stream
	ack     jetstream.PubAckFuture
	err     error // it was not published; ack is nil
	settled bool  // ack has been received, or err
}

// maxPending is how many batches may be unacknowledged. More of them overrun JetStream's limits.
const maxPending = 32

// Time between attempts to store batches.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
)

func newAppender(js jetstream.JetStream, s jetstream.Stream, session string, log *slog.Logger) *appender {
	info := s.CachedInfo()
	return &appender{js: js, stream: info.Config.Name, subject: info.Config.Subjects[0], session: session, log: log, last: info.State.LastSeq}
}

// append publishes a batch. It waits while too many are unacknowledged, until ctx ends.
func (a *appender) append(ctx context.Context, h nats.Header, payload []byte, number uint64, packets int) {
	a.poll(ctx)
	for len(a.pending) >= maxPending && ctx.Err() == nil {
		a.await(ctx)
	}
	u := &unacked{msg: nats.Msg{Subject: a.subject, Header: h, Data: bytes.Clone(payload)}, number: number, packets: packets}
	a.pending = append(a.pending, u)
	a.publish(u)
}

// publish publishes a batch as the stream's next message.
func (a *appender) publish(u *unacked) {
	a.last++
	u.seq, u.settled = a.last, false
	u.ack, u.err = a.js.PublishMsgAsync(&u.msg,
		jetstream.WithMsgID(a.session+"-"+strconv.FormatUint(u.number, 10)),
		jetstream.WithExpectStream(a.stream),
		jetstream.WithExpectLastSequence(u.seq-1))
}

// poll removes the batches that are acknowledged by now. If one was not stored, it publishes all
// again, until they are, or ctx ends.
func (a *appender) poll(ctx context.Context) {
	for len(a.pending) > 0 {
		u := a.pending[0]
		if u.err == nil && !u.settled {
			select {
			case ack := <-u.ack.Ok():
				u.settle(ack)
			case u.err = <-u.ack.Err():
			default:
				return
			}
		}
		if !a.remove(ctx) {
			return
		}
	}
}

// await waits for the oldest batch, and removes it if it is acknowledged.
func (a *appender) await(ctx context.Context) {
	if a.pending[0].wait(ctx) {
		a.remove(ctx)
	}
}

// remove removes the oldest batch, which has its answer, or recovers. It returns false if ctx has
// ended.
func (a *appender) remove(ctx context.Context) bool {
	if u := a.pending[0]; u.err != nil {
		return a.recover(ctx, u.err)
	}
	if a.failed {
		a.failed = false
		a.log.Info("fleet: batches are stored again", "stream", a.stream)
	}
	a.pending[0] = nil
	a.pending = a.pending[1:]
	return true
}

// wait waits for the answer. It returns false if ctx ends before.
func (u *unacked) wait(ctx context.Context) bool {
	if u.err != nil || u.settled {
		return true
	}
	select {
	case ack := <-u.ack.Ok():
		u.settle(ack)
	case u.err = <-u.ack.Err():
	case <-ctx.Done():
		return false
	}
	return true
}

func (u *unacked) settle(ack *jetstream.PubAck) {
	u.settled = true
	if ack.Sequence != u.seq {
		u.err = fmt.Errorf("message %d was stored as %d", u.seq, ack.Sequence)
	}
}

// recover publishes all batches again that are not stored, once the server answers. It returns
// false if ctx has ended.
func (a *appender) recover(ctx context.Context, why error) bool {
	if !a.failed {
		a.failed = true
		a.log.Warn("fleet: batches cannot be stored: they are kept, and later packets wait in the ring", "stream", a.stream, "err", why,
			"advice", "a server whose disk was full stores again once it is restarted")
	}
	for _, u := range a.pending { // none is on its way any more
		if !u.wait(ctx) {
			return false
		}
	}
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		if delivery.Sleep(ctx, retry) != nil {
			return false
		}
		if a.resync(ctx) == nil {
			return true
		}
	}
}

// resync finds out what is stored, and publishes the rest.
func (a *appender) resync(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, streamTime)
	defer cancel()
	s, err := a.js.Stream(ctx, a.stream)
	if err != nil {
		return err
	}
	last := s.CachedInfo().State.LastSeq
	stored := func(u *unacked) bool { return u.seq <= last } // its messages may be too old already
	switch m, err := s.GetLastMsgForSubject(ctx, a.subject); {
	case err == nil && m.Header.Get(headerSession) == a.session:
		b, err := parseBatch(m.Header)
		if err != nil {
			return err
		}
		stored = func(u *unacked) bool { return u.number <= b.Batches }
	case err == nil:
		stored = func(*unacked) bool { return false }
	case !errors.Is(err, jetstream.ErrMsgNotFound):
		return err
	}
	for len(a.pending) > 0 && stored(a.pending[0]) {
		a.pending = a.pending[1:]
	}
	a.last = last
	for _, u := range a.pending {
		a.publish(u)
	}
	return nil
}

// flush waits until all batches are stored, or ctx ends, and returns how many packets are not.
func (a *appender) flush(ctx context.Context) (unstored int) {
	for len(a.pending) > 0 && ctx.Err() == nil {
		a.await(ctx)
	}
	for _, u := range a.pending {
		unstored += u.packets
	}
	return unstored
}

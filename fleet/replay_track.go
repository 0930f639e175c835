package fleet

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/linktype"
)

// track is the recording of one device in a replay. The goroutine of Replay.run uses it.
type track struct {
	r      *Replay
	host   string
	far    Device
	link   *linktype.Link
	dev    *rxring.Device
	stream recordStream

	decoder decoder
	ledger  *ledger // of the session of the last batch; nil: none yet
	closed  bool    // that session ended with its last counts
	ended   bool    // there is no further packet

	packets []capfile.Packet // of the last batch, that are wanted
	next    int              // in packets
	bytes   []byte           // of packets
	found   string           // the last error
}

func newTrack(r *Replay, nc *nats.Conn, f recordedDevice) (*track, error) {
	reader, err := newRecordingReader(nc, &r.cfg.Query, f.host, f.far.Name, &f.info)
	if err != nil {
		return nil, err
	}
	dev, link, err := addDevice(r.cfg.Namespace, f.host, f.far, r.cfg.Name, r.cfg.Query.several())
	if err != nil {
		return nil, err
	}
	t := &track{r: r, host: f.host, far: f.far, link: link, dev: dev, stream: recordStream{streamReader: reader, name: f.info.Name}}
	t.stream.failed = t.fail
	t.decoder.link = link.Type
	return t, nil
}

// recordedBatch is a batch of a recording.
type recordedBatch struct {
	batch
	began time.Time // when its recorder was started
	n     uint64    // packets in it
}

func parseRecordedBatch(h nats.Header) (b recordedBatch, err error) {
	if b.batch, err = parseBatch(h); err != nil {
		return b, err
	}
	began, err := strconv.ParseInt(h.Get(headerBegan), 10, 64)
	if err != nil {
		return b, fmt.Errorf("batch with %s %q: want nanoseconds since the Unix epoch", headerBegan, h.Get(headerBegan))
	}
	if b.n, err = strconv.ParseUint(h.Get(headerPackets), 10, 32); err != nil {
		return b, fmt.Errorf("batch with %s %q: want a number", headerPackets, h.Get(headerPackets))
	}
	b.began = time.Unix(0, began)
	return b, nil
}

// after returns the counts after the batch.
func (b *recordedBatch) after() counts {
	c := b.counts
	c.Packets += b.n
	return c
}

// fill reads batches until there is a packet, or the recording has no more: then ended is set.
func (t *track) fill() error {
	for t.next >= len(t.packets) && !t.ended {
		m, gap, err := t.stream.next(t.r.ctx)
		if err != nil {
			return err
		}
		if m == nil {
			t.ended = true
			return t.finish(gap)
		}
		if err := t.receive(m.Headers(), m.Data(), gap); err != nil {
			return err
		}
	}
	return nil
}

// receive reads a batch. gap says that messages before it were deleted.
func (t *track) receive(h nats.Header, payload []byte, gap bool) error {
	t.packets, t.bytes, t.next = t.packets[:0], t.bytes[:0], 0
	b, err := parseRecordedBatch(h)
	if err != nil {
		t.fail(err)
		return nil
	}
	t.r.batches.Add(1)
	t.r.received.Add(uint64(len(payload)))
	if err := t.settle(&b, b.counts, gap); err != nil {
		return err
	}
	since, to := t.r.cfg.Since, t.r.cfg.To
	var n, early, late uint64
	err = t.decoder.each(payload, b.Encoding, func(p *capfile.Packet) error {
		n++
		switch at := time.Unix(0, p.Timestamp); {
		case p.Timestamp > 0 && at.Before(since):
			early++
		case p.Timestamp > 0 && !to.IsZero() && at.After(to):
			late++
		default:
			t.keep(p)
		}
		return nil
	})
	t.ledger.packets += n
	if err != nil {
		t.fail(fmt.Errorf("batch %d: %w: the rest of it is lost in transit", b.Batches, err))
	}
	if err := t.settle(&b, b.after(), false); err != nil {
		return err
	}
	t.closed = b.End != ""
	if t.closed {
		if err := t.r.lose(t.dev, t.ledger.close(b.after())); err != nil {
			return err
		}
	}
	t.ended = n > 0 && late == n && b.Sent.After(to)
	return nil
}

// keep copies a packet.
func (t *track) keep(p *capfile.Packet) {
	q := *p
	at := len(t.bytes)
	t.bytes = append(t.bytes, p.Data...)
	q.Data = t.bytes[at:len(t.bytes):len(t.bytes)]
	t.packets = append(t.packets, q)
}

// settle counts what was lost before the counts c of a batch.
func (t *track) settle(b *recordedBatch, c counts, gap bool) error {
	if t.ledger == nil || t.ledger.session != b.Session {
		t.begin(b)
	}
	l := t.ledger.settle(c)
	if gap {
		l.Retention, l.Transit = l.Transit, 0
	}
	return t.r.lose(t.dev, l)
}

// begin begins with the batches of another recorder. What it recorded before its first batch that
// is still there is lost if all of it is wanted; otherwise how much of it is wanted is unknown.
func (t *track) begin(b *recordedBatch) {
	if t.ledger != nil && !t.closed {
		t.fail(fmt.Errorf("the recorder ended without its last counts: what followed packet %d of it is not counted", t.ledger.packets))
	}
	t.closed = false
	start := counts{}
	if t.ledger == nil && b.began.Before(t.r.cfg.Since) {
		start = b.counts
		if t.stream.late {
			t.fail(fmt.Errorf("the recording begins at %v: what was before is deleted, and not counted", t.stream.firstTime.Format(time.RFC3339)))
		}
	}
	t.ledger = newLedger(b.Session, start)
}

// finish counts what was in the recording at the start of the replay and is deleted.
func (t *track) finish(gap bool) error {
	last := t.stream.lastHeader
	if !gap || last == nil {
		return nil
	}
	b, err := parseRecordedBatch(last)
	if err != nil {
		return err
	}
	return t.settle(&b, b.after(), true)
}

func (t *track) close() {
	t.stream.close()
	t.decoder.close()
}

func (t *track) wrap(err error) error {
	return fmt.Errorf("recording %s of device %s of host %s: %w", t.stream.name, t.far.Name, t.host, err)
}

// fail reports an error once.
func (t *track) fail(err error) {
	if err.Error() != t.found {
		t.found = err.Error()
		t.r.failed(t.wrap(err))
	}
}

var errDeleted = errors.New("it was deleted")

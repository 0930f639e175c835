package fleet

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/tap"
)

// Why a session ends, in the header of its last batch.
const (
	endRemoved = "device removed"
	endClosed  = "shipper closed"
	endExpired = "lease expired"
	endLeft    = "no reader is left"
)

// session sends the packets of one device that its filters accept to all readers that want them.
type session struct {
	s      *Shipper
	name   string // unique among all sessions, also those that have ended
	dev    *rxring.Device
	class  *Class
	tap    *tap.Tap
	ctx    context.Context // until end
	cancel context.CancelFunc

	readers map[string]lease // by request.Reader; guarded by Shipper.mu
	due     atomic.Bool      // a reader wants the counts

	mu      sync.Mutex
	what    what
	subject string
	encoder encoder
	counts  counts    // Batches, Packets and Cut are those published, or refused by the connection
	bytes   uint64    // of batches
	sent    time.Time // of the last batch with packets
	ended   bool
}

// lease is a reader's.
type lease struct {
	left    int    // periods until it ends, as of pace
	user    string // request.User
	transit uint64 // request.Transit
}

// leasePeriods is how many periods a lease has. It ends after the one in which it began, too.
const leasePeriods = 10

// has reports whether the session has a reader. Shipper.mu must be held.
func (c *session) has(reader string) bool {
	_, ok := c.readers[reader]
	return ok
}

// newSession opens a tap and returns a session that does not send yet: see run.
func newSession(s *Shipper, d *rxring.Device, class *Class, w what) (*session, error) {
	filters, err := w.filters()
	if err != nil {
		return nil, refusef(codeInvalid, "%v", err)
	}
	c := &session{s: s, name: nuid.Next(), dev: d, class: class, readers: make(map[string]lease)}
	c.tap, err = tap.Open(d, tap.Config{Programs: filters, Snaplen: w.Snaplen, Socket: true, Promiscuous: w.Promiscuous && !class.Grant.NoPromiscuous, Buffer: s.cfg.Buffer, Retire: retire, Grant: class.grant(), Open: s.cfg.Open})
	if err != nil {
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.encoder.start = time.Now()
	c.setWhatLocked(w)
	return c, nil
}

// setWhatLocked names what the session has from now on.
func (c *session) setWhatLocked(w what) {
	c.what = w
	c.subject = sessionSubject(c.s.cfg.Fleet, c.s.cfg.Host, c.dev.Name(), c.class.Name, w.id())
	c.encoder.compressor.is = w.Compress
	c.encoder.iface = capfile.Interface{Name: c.dev.Name(), Description: c.s.cfg.Host + "/" + c.dev.Name(), LinkType: c.tap.LinkType(), SnapLen: uint32(c.tap.Snaplen())}
}

// maxRefused is how many packets in a row that the filters refuse delay a batch, and the counts: Next
// does not check its deadline while the ring has packets.
const maxRefused = 64

// run sends packets until the session ends.
func (c *session) run() {
	for refused := 0; ; {
		p, ok, err := c.tap.Next(c.ctx)
		switch {
		case c.ctx.Err() != nil:
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.mu.Lock()
			c.publishLocked("")
			c.mu.Unlock()
		case errors.Is(err, syscall.ENETDOWN) && slices.Contains(c.dev.Namespace().Devices(), c.dev):
			// It is down; reported once.
		case err != nil:
			c.s.remove(c, endRemoved)
			return
		case ok:
			c.mu.Lock()
			c.addLocked(&p)
			c.mu.Unlock()
		default:
			if refused++; refused%maxRefused == 0 {
				c.publishDue()
			}
		}
	}
}

// addLocked adds a packet to the batch, and publishes batches that are full.
func (c *session) addLocked(p *capfile.Packet) {
	if !c.encoder.room(p) {
		c.publishLocked("")
	}
	first := c.encoder.n == 0
	if first {
		c.encoder.limit = c.s.batchLimit()
	}
	if err := c.encoder.add(p); err != nil {
		c.s.log.Error("fleet: a packet cannot be encoded", "device", c.dev.Name(), "err", err) // it is counted as lost in transit
	}
	switch {
	case c.encoder.size >= c.encoder.limit, time.Since(c.encoder.began) >= linger:
		c.publishLocked("")
	case first: // without delay if it has been quiet
		c.tap.SetDeadline(c.sent.Add(linger))
	}
}

// publishDue publishes the batch if it has waited for linger, or a reader wants the counts.
func (c *session) publishDue() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.due.Load() || c.encoder.n > 0 && time.Since(c.encoder.began) >= linger {
		c.publishLocked("")
	}
}

// publishLocked publishes the batch, which may be empty, with the counts. It may block.
func (c *session) publishLocked(end string) {
	c.due.Store(false)
	c.tap.SetDeadline(time.Time{})
	b := batch{Session: c.name, Sent: time.Now(), End: end, counts: c.totalsLocked()}
	n := c.encoder.n
	payload, encoding, err := c.encoder.end(b.counts)
	if err != nil {
		c.s.log.Error("fleet: a batch cannot be encoded", "device", c.dev.Name(), "packets", n, "err", err)
	}
	b.Encoding = encoding
	// What the connection refuses is lost in transit: the next batch's numbers show it.
	if err := c.s.nc.PublishMsg(&nats.Msg{Subject: c.subject, Header: b.header(), Data: payload}); err != nil {
		c.s.log.Debug("fleet: batch lost", "device", c.dev.Name(), "packets", n, "err", err)
	}
	c.counts.Batches++
	c.bytes += uint64(len(payload))
	c.counts.Packets += uint64(n)
	if n > 0 {
		c.sent = b.Sent
	}
}

// totalsLocked returns the counts before the batch.
func (c *session) totalsLocked() counts { return c.counts.with(c.tap.Stats(), &c.encoder) }

// with returns the counts before the batch that e has.
func (c counts) with(st tap.Stats, e *encoder) counts {
	c.Cut = e.cut
	c.Dropped, c.Lost = st.Dropped, st.Lost
	c.Offered = max(st.Offered-min(st.Refused, st.Offered), c.Packets+uint64(e.n)+st.Dropped+st.Lost)
	return c
}

// beat makes run publish the counts, at once or with the packets that it has. It does not wait, as
// publishing may.
func (c *session) beat() {
	c.due.Store(true)
	c.tap.SetDeadline(time.Now())
}

// change makes the session one that has w, with the packets still in the ring. Only its one
// reader may call for it.
func (c *session) change(w what) error {
	filters, err := w.filters()
	if err != nil {
		return refusef(codeInvalid, "%v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.tap.SetFilter(filters, w.Snaplen); err != nil {
		return err
	}
	c.publishLocked("") // on the subject that the reader has
	c.setWhatLocked(w)
	return nil
}

// Bounds of the waits for a session that a reader leaves for another one. All but the first delay
// the other one.
const (
	drainTime   = time.Second            // for what is in the ring, at first
	beginTime   = 5 * time.Millisecond   // for deliveries that have begun, at least
	overlapTime = 50 * time.Millisecond  // for deliveries that have begun, at most
	leaveTime   = 100 * time.Millisecond // for what is in the ring, again
)

// maxDeliver is how many packets a delivery offers to a tap at once, at most: maxBatch of package
// rxring.
const maxDeliver = 32

// overlap waits for deliveries that have begun: a tap that was opened since does not get their
// packets, and the session that the reader leaves may not have them yet. Those of one goroutine are
// over once c's tap has been offered more packets than one delivery offers at once. Of several
// goroutines, one that is interrupted for longer than beginTime is not waited for.
func (c *session) overlap() {
	from, start := c.tap.Stats().Offered, time.Now()
	time.Sleep(beginTime)
	for c.tap.Stats().Offered <= from+maxDeliver && time.Since(start) < overlapTime {
		time.Sleep(time.Millisecond)
	}
}

// drain waits until all packets that were offered before the call are read, and returns the tap's
// counts at the call.
func (c *session) drain(limit time.Duration) (mark tap.Stats) {
	mark = c.tap.Stats()
	for start := time.Now(); time.Since(start) < limit; time.Sleep(time.Millisecond) {
		if now := c.tap.Stats(); now.Read+now.Dropped+now.Lost >= mark.Offered {
			break
		}
	}
	return mark
}

// drained publishes all packets that were offered before the call, and returns the counts of what
// was published and dropped until then. What is not published in time is offered, and so is lost.
func (c *session) drained() counts {
	mark := c.drain(leaveTime)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.publishLocked("")
	had := c.totalsLocked()
	had.Offered = max(had.Packets+had.Dropped+had.Lost, mark.Offered-min(mark.Refused, mark.Offered))
	return had
}

// end ends the session and returns its last counts.
func (c *session) end(why string) counts {
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.ended = true
		c.tap.Close()
		c.publishLocked(why)
	}
	return c.totalsLocked()
}

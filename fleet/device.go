package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/pushfilter"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/delivery"
	"github.com/rxring/rxring/source/file/linktype"
	"github.com/rxring/rxring/source/file/tap"
)

// device is a device here that shows a device of a host. All its work is done by run, in one
// goroutine, in the order in which messages arrive.
type device struct {
	r    *Reader
	host string
	far  Device
	link *linktype.Link
	dev  *rxring.Device

	id      string // in requests
	control string // subject of requests
	inbox   string // prefix of the subjects of answers
	answers *nats.Subscription
	msgs    chan *nats.Msg
	kick    chan struct{} // receives a value when interest may have changed
	inside  atomic.Int32  // run is in a call that may call interestChanged
	changes atomic.Uint64 // of interest

	mu       sync.Mutex
	followed uint64        // of changes
	progress chan struct{} // closed when followed grows

	counts    Counts // of batches, bytes and losses; guarded by Reader.mu
	delivered delivery.Counts

	batch delivery.Batch // used by run, or by the merger if there is one

	// Used by run only.
	decoder  decoder
	open     *opening
	cur      *reading
	past     *ledger // of a session that ended, and whose last counts are not known
	asked    int     // requests so far
	unmet    bool    // the host does not have what is wanted: request it after retry
	retry    time.Time
	reported string // the last error
}

// opening is a request that is not answered yet.
type opening struct {
	what  what
	sub   *nats.Subscription
	inbox string
	quiet int // periods without an answer
}

// reading is an open session.
type reading struct {
	*ledger
	what  what
	sub   *nats.Subscription
	lease time.Duration
	quiet int       // periods since the last message
	kept  time.Time // the last time that it was kept
}

const (
	// waiting is how many batches wait for run. More are lost in transit.
	waiting = 128
	// tickTime is the period of checks.
	tickTime = 100 * time.Millisecond
	// followTime bounds how long a change of sockets waits for the host's answer.
	followTime = 300 * time.Millisecond
	// retryTime is the time between attempts.
	retryTime = time.Second
	// leases is how many leases without a message set a device down.
	leases = 2
)

func newDevice(r *Reader, host string, far Device, link *linktype.Link, dev *rxring.Device) *device {
	d := &device{
		r: r, host: host, far: far, link: link, dev: dev,
		id:       nuid.Next(),
		control:  controlSubject(r.query.Fleet, host, r.query.Class),
		inbox:    r.nc.NewRespInbox() + ".",
		msgs:     make(chan *nats.Msg, waiting),
		kick:     make(chan struct{}, 1),
		progress: make(chan struct{}),
	}
	d.batch.Context, d.batch.Counts = r.ctx, &d.delivered
	d.decoder.link = link.Type
	return d
}

func (d *device) start() (err error) {
	if d.answers, err = d.r.nc.ChanSubscribe(d.inbox+"*", d.msgs); err != nil {
		return err
	}
	d.r.wg.Go(d.run)
	d.dev.OnInterestChange(d.interestChanged)
	return nil
}

// interestChanged is the device's function of OnInterestChange. It returns when the host has the
// new filter, so that a program that prints "listening" is, but waits for followTime at most.
func (d *device) interestChanged() {
	change := d.changes.Add(1)
	select {
	case d.kick <- struct{}{}:
	default:
	}
	if d.inside.Load() > 0 || !d.r.nc.IsConnected() {
		return
	}
	limit := time.NewTimer(followTime)
	defer limit.Stop()
	for {
		d.mu.Lock()
		done, progress := d.followed >= change, d.progress
		d.mu.Unlock()
		if done {
			return
		}
		select {
		case <-progress:
		case <-limit.C:
			return
		case <-d.r.ctx.Done():
			return
		}
	}
}

// setFollowed notes that the host has what was wanted at a change.
func (d *device) setFollowed(change uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.followed = max(d.followed, change)
	close(d.progress)
	d.progress = make(chan struct{})
}

func (d *device) run() {
	defer d.end()
	tick := time.NewTicker(tickTime)
	defer tick.Stop()
	d.follow()
	for {
		select {
		case <-d.r.ctx.Done():
			return
		case <-d.kick:
			d.follow()
		case m := <-d.msgs:
			d.receive(m)
		case now := <-tick.C:
			d.check(now)
		}
	}
}

func (d *device) end() {
	d.inside.Add(1)
	d.dev.OnInterestChange(nil)
	d.leave()
	if d.open != nil {
		d.dropOpening()
	}
	d.answers.Unsubscribe()
	d.decoder.close()
}

// interest returns what the device's sockets want.
func (d *device) interest() (w what, wanted bool) {
	if !d.dev.HasListeners() {
		return w, false
	}
	w = what{Promiscuous: d.dev.Promiscuous(), Compress: d.r.cfg.Compress}
	programs, all := d.dev.Filters()
	w.Programs = programsOf(pushfilter.Programs(programs, all, maxPrograms))
	w.Snaplen = pushfilter.Snaplen(programs, all, tap.MaxSnaplen)
	return w, true
}

// follow requests what the sockets want, unless the host has it.
func (d *device) follow() {
	if d.open != nil {
		return // the answer calls it
	}
	change := d.changes.Load()
	want, wanted := d.interest()
	d.unmet = false
	switch {
	case !d.dev.Up(): // its sockets are back when it is up
	case !wanted:
		d.leave()
	case d.cur != nil && d.cur.what.equal(want):
	case time.Now().Before(d.retry):
		d.unmet = true
	default:
		err := d.request(want)
		if err == nil {
			return
		}
		d.fail(err)
		d.retryLater()
	}
	d.setFollowed(change)
}

// request asks for a session. Its batches are subscribed before.
func (d *device) request(w what) error {
	sub, err := d.r.nc.ChanSubscribe(sessionSubject(d.r.query.Fleet, d.host, d.far.Name, d.r.query.Class, w.id()), d.msgs)
	if err != nil {
		return err
	}
	q := request{Op: opOpen, Reader: d.id, User: d.r.user, Device: d.far.Name, What: w}
	switch {
	case d.cur != nil:
		q.Session = d.cur.session
	case d.past != nil:
		q.Session = d.past.session
	}
	inbox, err := d.send(q)
	if err != nil {
		sub.Unsubscribe()
		return err
	}
	d.open = &opening{what: w, sub: sub, inbox: inbox}
	return nil
}

// send sends a request, and returns the subject of its answer.
func (d *device) send(q request) (inbox string, err error) {
	text, err := json.Marshal(q)
	if err != nil {
		return "", err
	}
	d.asked++
	inbox = d.inbox + strconv.Itoa(d.asked)
	return inbox, d.r.nc.PublishRequest(d.control, inbox, text)
}

// leave closes the session: no socket wants it.
func (d *device) leave() {
	d.past = nil
	if d.cur == nil {
		return
	}
	d.send(request{Op: opClose, Reader: d.id, Session: d.cur.session}) // without it the lease ends
	d.cur.sub.Unsubscribe()
	d.cur = nil
}

func (d *device) dropOpening() {
	d.open.sub.Unsubscribe()
	d.open = nil
}

// receive handles an answer or a batch.
func (d *device) receive(m *nats.Msg) {
	if !strings.HasPrefix(m.Subject, d.inbox) {
		d.receiveBatch(m)
		return
	}
	a := new(answer)
	silent := m.Header.Get("Status") == "503" // no responders
	if !silent {
		if err := json.Unmarshal(m.Data, a); err != nil {
			d.fail(fmt.Errorf("answer of %d bytes: %w", len(m.Data), err))
			return
		}
	}
	switch {
	case d.open != nil && m.Subject == d.open.inbox:
		d.opened(a, silent)
	case silent: // it may return within two leases
	case a.Error != nil && a.Error.Code == codeSession && d.cur != nil:
		d.sessionLost(a.Past)
	case a.Devices != nil && !d.dev.Up():
		d.revive(a.Devices)
	}
}

// opened handles the answer of request.
func (d *device) opened(a *answer, silent bool) {
	switch {
	case silent:
		d.dropOpening()
		d.retryLater()
	case a.Error != nil:
		d.dropOpening()
		d.fail(a.Error)
		d.retryLater()
	default:
		d.adopt(a)
		d.follow() // what is wanted may have changed meanwhile
	}
}

func (d *device) retryLater() {
	d.unmet, d.retry = true, time.Now().Add(retryTime)
	d.setFollowed(d.changes.Load())
}

// adopt makes the session that was opened the current one.
func (d *device) adopt(a *answer) {
	o, before := d.open, d.past
	d.open, d.past, d.reported = nil, nil, ""
	next := &reading{ledger: newLedger(a.Session, a.Counts), what: o.what, sub: o.sub, lease: max(a.Lease, tickTime), kept: time.Now()}
	if cur := d.cur; cur != nil {
		before = cur.ledger
		cur.sub.Unsubscribe()
	}
	switch {
	case before == nil:
	case before.session == a.Session:
		next.ledger = before
	case a.Past == nil:
		d.fail(fmt.Errorf("session %s ended with its host's knowledge of it: what was lost after packet %d of it is not counted", before.session, before.packets))
	default:
		d.lose(before.close(*a.Past))
	}
	d.cur = next
	d.count(func(c *Counts) { c.Sessions++ })
}

// receiveBatch delivers a batch of the current session.
func (d *device) receiveBatch(m *nats.Msg) {
	b, err := parseBatch(m.Header)
	if err != nil {
		d.fail(err)
		return
	}
	if d.cur == nil || b.Session != d.cur.session {
		return // of one that was closed, or of others' before ours was opened
	}
	d.cur.quiet = 0
	if b.Packets < d.cur.packets {
		return // before ours was opened
	}
	d.lose(d.cur.settle(b.counts))
	d.count(func(c *Counts) {
		c.Batches++
		c.Received += uint64(len(m.Data))
	})
	n := uint64(0)
	err = d.decoder.each(m.Data, b.Encoding, func(p *capfile.Packet) error {
		n++
		return d.deliver(p)
	})
	if flushed := d.flush(); flushed != nil {
		return // closed
	}
	d.cur.packets += n
	if err != nil {
		d.fail(fmt.Errorf("batch %d: %w: the rest of it is lost in transit", b.Batches, err))
	}
	if b.End != "" {
		d.sessionEnded(b)
	}
}

// deliver delivers a packet, at the latest with flush or, if packets of several hosts are put in
// order, at its time.
func (d *device) deliver(p *capfile.Packet) error {
	if d.r.merger != nil {
		return d.r.merger.add(&d.batch, d.dev, d.link, p)
	}
	return d.batch.Add(d.dev, d.link, p)
}

func (d *device) flush() error {
	if d.r.merger != nil {
		return nil
	}
	return d.batch.Flush()
}

// origin is HOST/DEVICE.
func (d *device) origin() string { return d.host + "/" + d.far.Name }

// countsLocked returns the counts so far.
func (d *device) countsLocked() Counts {
	c := d.counts
	c.Packets, c.Bytes = d.delivered.Packets.Load(), d.delivered.Bytes.Load()
	c.Unseen, c.Cut = d.delivered.Unseen.Load(), d.delivered.Cut.Load()
	return c
}

// count changes the counts.
func (d *device) count(change func(*Counts)) {
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	change(&d.counts)
}

// lostInTransit returns how many packets were lost in transit so far.
func (d *device) lostInTransit() uint64 {
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	return d.counts.Lost.Transit
}

// lose counts lost packets, after those before them.
func (d *device) lose(l Losses) {
	if n := l.sum(); n > 0 {
		d.count(func(c *Counts) { c.Lost.add(l) })
		d.dev.Lost(n)
	}
}

// sessionEnded handles the last batch of a session.
func (d *device) sessionEnded(b batch) {
	d.lose(d.cur.close(b.counts))
	d.cur.sub.Unsubscribe()
	d.cur = nil
	d.setUp(false)
}

// sessionLost handles that the host no longer has the session. Between it and the next one,
// packets are not counted: the device goes down.
func (d *device) sessionLost(past *counts) {
	d.past = d.cur.ledger
	if past != nil {
		d.lose(d.past.close(*past))
		d.past = nil
	}
	d.cur.sub.Unsubscribe()
	d.cur = nil
	d.setUp(false)
}

// revive sets the device up again, if the host has it and it is up there.
func (d *device) revive(devices []Device) {
	i := slices.IndexFunc(devices, func(far Device) bool { return far.Name == d.far.Name })
	if i >= 0 && devices[i].Up && devices[i].Type == d.far.Type {
		d.setUp(true)
		d.follow()
	}
}

func (d *device) setUp(up bool) {
	if d.r.merger != nil {
		d.r.merger.deliverAll() // sockets on a device that is down would miss them
	}
	d.inside.Add(1)
	defer d.inside.Add(-1)
	d.dev.SetUp(up)
}

// check does what is due.
func (d *device) check(now time.Time) {
	d.wait()
	if d.open != nil && d.open.quiet > int(askTime/tickTime) {
		if err := denied(d.r.nc, &d.r.query, d.control, d.open.sub.Subject); err != nil {
			d.fail(err)
		}
		d.dropOpening()
		d.retryLater()
	}
	switch c := d.cur; {
	case c != nil && c.quiet > int(leases*c.lease/tickTime):
		d.fail(errors.New("it does not answer: the device is down until it does"))
		d.sessionLost(nil)
	case c != nil && now.Sub(c.kept) >= c.lease/3:
		c.kept = now
		d.send(request{Op: opKeep, Reader: d.id, Session: c.session, Transit: d.lostInTransit()})
	case !d.dev.Up() && now.After(d.retry):
		d.retry = now.Add(retryTime)
		d.send(request{Op: opList})
	case d.unmet && now.After(d.retry):
		d.follow()
	}
}

// wait counts a period without a message, which is longer if this process was stalled. Messages
// that have not been received yet end the silence.
func (d *device) wait() {
	if len(d.msgs) > 0 {
		return
	}
	if d.open != nil {
		d.open.quiet++
	}
	if d.cur != nil {
		d.cur.quiet++
	}
}

// fail reports an error once.
func (d *device) fail(err error) {
	if err.Error() == d.reported {
		return
	}
	d.reported = err.Error()
	d.r.failed(fmt.Errorf("device %s of host %s: %w", d.far.Name, d.host, err))
}

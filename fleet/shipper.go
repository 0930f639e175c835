package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/internal/explain"
)

// ShipConfig configures a [Shipper]. The zero value works.
type ShipConfig struct {
	Fleet string // "": DefaultFleet
	Host  string // unique in the fleet; "": the system's name

	Devices func(*rxring.Device) bool // those that are offered; nil: all
	Classes []Class                   // nil: DefaultClass, which allows everything

	// Open opens a capture on a device; nil: [capture.OpenDevice]. A namespace of another process
	// needs [capture.OpenAttached], and classes that limit nothing but devices and promiscuous mode.
	Open func(*rxring.Device, capture.Config) (*capture.Handle, error)

	Buffer      int           // size of each session's ring, in bytes; 0: 16 MiB
	MaxSessions int           // of each class, at a time; 0: 64
	Lease       time.Duration // 0: 15 s

	Recordings []Recording // of each device that is offered to their classes

	Logger *slog.Logger // of sessions and recordings; nil: no log
}

const (
	defaultSessions = 64
	defaultLease    = 15 * time.Second
	defaultBuffer   = 16 << 20
	maxReaders      = 1024 // of a session
	maxPast         = 256  // ended sessions whose counts are kept
)

func (c *ShipConfig) check() error {
	c.Fleet = orFleet(c.Fleet)
	if c.Host == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("fleet: the system has no name: want one for this host: %w", err)
		}
		c.Host = name
	}
	for what, name := range map[string]string{"fleet": c.Fleet, "host": c.Host} {
		if err := checkName(what, name); err != nil {
			return fmt.Errorf("fleet: %w", err)
		}
	}
	if strings.Contains(c.Host, "/") {
		return fmt.Errorf("fleet: host %q: want a name without '/', which is between it and a device's in HOST/DEVICE", c.Host)
	}
	if err := c.checkClasses(); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	c.Recordings = slices.Clone(c.Recordings)
	if err := checkRecordings(c.Recordings, c.Classes); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	if c.Buffer < 0 || c.MaxSessions < 0 || c.Lease < 0 {
		return fmt.Errorf("fleet: Buffer %d, MaxSessions %d, Lease %v: want no negative values", c.Buffer, c.MaxSessions, c.Lease)
	}
	if c.MaxSessions == 0 {
		c.MaxSessions = defaultSessions
	}
	if c.Buffer == 0 {
		c.Buffer = defaultBuffer
	}
	if c.Lease == 0 {
		c.Lease = defaultLease
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Shipper offers the devices of a namespace to readers. Its methods may be called concurrently.
type Shipper struct {
	nc      *nats.Conn
	ns      *rxring.Namespace
	cfg     ShipConfig
	log     *slog.Logger
	service micro.Service
	wg      sync.WaitGroup // goroutines of sessions, and expire
	quit    chan struct{}
	records *records

	mu       sync.Mutex
	closed   bool
	sessions []*session
	past     []pastSession      // the newest last
	totals   map[totalKey]Total // of sessions that have ended
}

// pastSession is a session that has ended.
type pastSession struct {
	name   string
	class  *Class
	counts counts
}

// duplicateTime is how long Ship waits for another host of the same name to answer. It waits only
// if there is one, or if the server has not noticed yet that it is gone.
const duplicateTime = 5 * time.Second

// Ship offers the devices of ns, also those that are added later, until Close. It fails if
// another shipper of the fleet has the same host name. nc stays open after Close.
func Ship(nc *nats.Conn, ns *rxring.Namespace, c ShipConfig) (*Shipper, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Shipper{nc: nc, ns: ns, cfg: c, log: c.Logger, quit: make(chan struct{}), totals: make(map[totalKey]Total)}
	present := hostSubject(c.Fleet, c.Host)
	if err := errors.Join(nc.Publish(present, nil), nc.FlushTimeout(duplicateTime)); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	if refused := refusedSubject(nc, present); refused != "" {
		return nil, explain.Errorf(syscall.EACCES, "fleet: host %q: the NATS server does not allow this user %s: want the name that the credentials are for, or ask who runs it", c.Host, refused)
	}
	_, err := nc.Request(present, nil, duplicateTime)
	switch {
	case err == nil:
		return nil, fmt.Errorf("fleet: host %q: another process ships under this name: want a host name that is unique in fleet %q", c.Host, c.Fleet)
	case !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, nats.ErrTimeout):
		return nil, fmt.Errorf("fleet: %w", err)
	}
	if s.records, err = startRecords(s); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	s.service, err = micro.AddService(nc, micro.Config{
		Name:               serviceName,
		Version:            "1.0.0",
		Description:        "packets of this host's devices",
		Metadata:           map[string]string{"fleet": c.Fleet, "host": c.Host, "os": runtime.GOOS, "classes": strings.Join(names(c.Classes), ",")},
		QueueGroupDisabled: true,
	})
	if err != nil {
		s.records.close()
		return nil, fmt.Errorf("fleet: %w", err)
	}
	endpoint := func(name, subject string, f micro.HandlerFunc) {
		if err == nil {
			err = s.service.AddEndpoint(name, f, micro.WithEndpointSubject(subject))
		}
	}
	endpoint("host", present, func(r micro.Request) { r.Respond(nil) })
	for i := range c.Classes {
		endpoint(fmt.Sprint("class", i), controlSubject(c.Fleet, c.Host, c.Classes[i].Name), func(r micro.Request) { s.serve(r, &c.Classes[i]) })
	}
	if err != nil {
		s.service.Stop()
		s.records.close()
		return nil, fmt.Errorf("fleet: %w", err)
	}
	s.wg.Go(s.expire)
	return s, nc.Flush()
}

// Host returns the name of this host in the fleet.
func (s *Shipper) Host() string { return s.cfg.Host }

// closeTime is how long Close waits for a server that does not receive, longer than recordings take
// to be stored.
const closeTime = drainTime + storeTime + time.Second

// Close ends all sessions and recordings. Their readers' devices go down. If the server does not
// receive, a connection of [Dial] reconnects.
func (s *Shipper) Close() error {
	if d, ok := s.nc.Opts.CustomDialer.(*dialer); ok {
		d.hangUpAfter(closeTime)
		defer d.resume()
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	all := s.sessions
	s.sessions = nil
	s.mu.Unlock()
	err := s.service.Stop()
	for _, c := range all {
		c.end(endClosed)
	}
	s.records.close()
	close(s.quit)
	s.wg.Wait()
	if s.nc.IsConnected() {
		s.nc.FlushTimeout(drainTime)
	}
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrReconnectBufExceeded) {
		err = nil
	}
	return err
}

// batchLimit is the size of a batch, in bytes, that the server accepts.
func (s *Shipper) batchLimit() int {
	const headers = 4 << 10 // more than those of a batch
	if most := s.nc.MaxPayload(); most > 0 && most < maxBatch+headers {
		return max(int(most)-headers, minLimit)
	}
	return maxBatch
}

// serve answers a request.
func (s *Shipper) serve(r micro.Request, class *Class) {
	received := time.Now()
	respond := func(a *answer) { r.RespondJSON(a) }
	var q request
	if err := json.Unmarshal(r.Data(), &q); err != nil {
		respond(&answer{Error: refusef(codeInvalid, "request: %v: want JSON such as {\"op\":\"list\"}", err)})
		return
	}
	switch q.Op {
	case opList:
		respond(&answer{Devices: s.devices(class)})
	case opOpen:
		if err := s.open(&q, class, respond); err != nil {
			s.log.Warn("fleet: session refused", append(q.audit(class), "err", err)...)
			respond(&answer{Error: asProblem(err)})
		}
	case opKeep:
		if a := s.keep(&q, class); a != nil {
			respond(a)
		}
	case opClose:
		respond(s.leave(&q, class))
	case opStat:
		respond(s.status(class))
	case opTime:
		respond(&answer{Time: &instants{received.UnixNano(), received.Add(time.Since(received)).UnixNano()}})
	default:
		respond(&answer{Error: refusef(codeInvalid, "request %.20q: want %s, %s, %s, %s, %s or %s", q.Op, opOpen, opKeep, opClose, opList, opStat, opTime)})
	}
}

// offered reports whether the shipper has the device for anyone.
func (s *Shipper) offered(d *rxring.Device) bool { return s.cfg.Devices == nil || s.cfg.Devices(d) }

// offers reports whether there is a device for the class's readers.
func (s *Shipper) offers(d *rxring.Device, class *Class) bool {
	return s.offered(d) && class.allows(d)
}

func (s *Shipper) devices(class *Class) []Device {
	all := []Device{}
	for _, d := range s.ns.Devices() {
		if s.offers(d, class) {
			far := describe(d)
			far.Recordings = s.records.of(d, class)
			all = append(all, far)
		}
	}
	return all
}

// open opens a session for a reader, or adds the reader to one that has the same. The answer
// precedes what the session publishes from then on.
func (s *Shipper) open(q *request, class *Class, respond func(*answer)) error {
	d, ok := s.ns.DeviceByName(q.Device)
	if !ok || !s.offers(d, class) {
		return refusef(codeDevice, "device %.255q: host %s has no such device: %s", q.Device, s.cfg.Host, s.names(class))
	}
	if q.Reader == "" || len(q.Reader) > maxToken {
		return refusef(codeInvalid, "reader %.20q: want a unique name of at most %d bytes", q.Reader, maxToken)
	}
	if len(q.User) > maxToken {
		return refusef(codeInvalid, "user %.20q: want at most %d bytes", q.User, maxToken)
	}
	if err := q.What.check(); err != nil {
		return refusef(codeInvalid, "%v", err)
	}
	if left := s.leftBy(q, d, class); left != nil {
		left.drain(drainTime)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return refusef(codeFailed, "%s", endClosed)
	}
	old := s.hadLocked(q, d, class)
	c := s.sharedLocked(d, class, q.What)
	fresh := false
	switch {
	case c != nil && c == old:
		old = nil
	case c == nil && old != nil && len(old.readers) == 1:
		if err := old.change(q.What); err != nil {
			return err
		}
		c, old = old, nil
		s.log.Info("fleet: session changed", append(q.audit(class), "session", c.name)...)
	case c == nil && s.countLocked(class) >= s.cfg.MaxSessions:
		return refusef(codeLimit, "there are %d sessions already: try again later", s.cfg.MaxSessions)
	case c == nil:
		var err error
		if c, err = newSession(s, d, class, q.What); err != nil {
			return err
		}
		fresh = true
		s.sessions = append(s.sessions, c)
		defer s.wg.Go(c.run)
		s.log.Info("fleet: session opened", append(q.audit(class), "session", c.name)...)
	case c.has(q.Reader):
	case len(c.readers) >= maxReaders:
		return refusef(codeLimit, "the session has %d readers already: try again later", maxReaders)
	default:
		s.log.Info("fleet: session joined", append(q.audit(class), "session", c.name)...)
	}
	c.readers[q.Reader] = lease{left: leasePeriods, user: q.User}

	c.mu.Lock() // it publishes nothing until the answer is sent
	defer c.mu.Unlock()
	a := &answer{Session: c.name, Subject: c.subject, Lease: s.cfg.Lease, Past: s.pastLocked(q.Session, class)}
	if !fresh { // of a new one, all that its tap was offered is this reader's
		a.Counts = c.totalsLocked()
	}
	if old != nil { // what it had before this moment is the reader's, too
		c.overlap()
		had := old.drained()
		a.Past = &had
		s.leaveLocked(old, q.Reader, endLeft)
	}
	respond(a)
	return nil
}

// hadLocked returns the session that the reader has; nil if there is none.
func (s *Shipper) hadLocked(q *request, d *rxring.Device, class *Class) *session {
	c := s.findLocked(q.Session, class)
	if c == nil || c.dev != d || !c.has(q.Reader) {
		return nil
	}
	return c
}

// leftBy returns the session that the reader has if it will leave it for another one.
func (s *Shipper) leftBy(q *request, d *rxring.Device, class *Class) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, shared := s.hadLocked(q, d, class), s.sharedLocked(d, class, q.What)
	if old == nil || old == shared || shared == nil && len(old.readers) == 1 {
		return nil
	}
	return old
}

func (s *Shipper) names(class *Class) string {
	var names []string
	for _, d := range s.devices(class) {
		names = append(names, d.Name)
	}
	if names == nil {
		return "it offers none"
	}
	return "it offers " + strings.Join(names, ", ")
}

// keep renews a lease. The answer is a batch, in order with the others; nil.
func (s *Shipper) keep(q *request, class *Class) *answer {
	s.mu.Lock()
	c := s.findLocked(q.Session, class)
	if c == nil || !c.has(q.Reader) {
		defer s.mu.Unlock()
		return &answer{Error: refusef(codeSession, "session %.40q has no such reader: want %s", q.Session, opOpen), Past: s.pastLocked(q.Session, class)}
	}
	c.readers[q.Reader] = lease{leasePeriods, c.readers[q.Reader].user, q.Transit}
	s.mu.Unlock()
	c.beat()
	return nil
}

// leave ends a reader's lease.
func (s *Shipper) leave(q *request, class *Class) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.findLocked(q.Session, class); c != nil && c.has(q.Reader) {
		s.leaveLocked(c, q.Reader, endLeft)
	}
	return &answer{Past: s.pastLocked(q.Session, class)}
}

// leaveLocked removes a reader, and ends the session if it was the last one.
func (s *Shipper) leaveLocked(c *session, reader, why string) {
	user := c.readers[reader].user
	delete(c.readers, reader)
	s.log.Info("fleet: session left", "session", c.name, "device", c.dev.Name(), "class", c.class.Name, "user", user, "reader", reader, "why", why, "readers", len(c.readers))
	if len(c.readers) == 0 {
		s.endLocked(c, why)
	}
}

func (s *Shipper) endLocked(c *session, why string) {
	i := slices.Index(s.sessions, c)
	if i < 0 {
		return
	}
	s.sessions = slices.Delete(s.sessions, i, i+1)
	last := c.end(why)
	s.addTotalLocked(c)
	if s.past = append(s.past, pastSession{c.name, c.class, last}); len(s.past) > maxPast {
		s.past = slices.Delete(s.past, 0, 1)
	}
	s.log.Info("fleet: session ended", "session", c.name, "device", c.dev.Name(), "class", c.class.Name, "why", why, "packets", last.Packets, "dropped", last.Dropped, "lost", last.Lost)
}

// remove ends a session that has no more packets.
func (s *Shipper) remove(c *session, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(c, why)
}

// countLocked returns how many sessions a class has.
func (s *Shipper) countLocked(class *Class) (n int) {
	for _, c := range s.sessions {
		if c.class == class {
			n++
		}
	}
	return n
}

// findLocked returns a session of a class: a reader of one class has no access to another's.
func (s *Shipper) findLocked(name string, class *Class) *session {
	i := slices.IndexFunc(s.sessions, func(c *session) bool { return c.name == name && c.class == class })
	if i < 0 {
		return nil
	}
	return s.sessions[i]
}

// sharedLocked returns the session that has w, if there is one.
func (s *Shipper) sharedLocked(d *rxring.Device, class *Class, w what) *session {
	i := slices.IndexFunc(s.sessions, func(c *session) bool { return c.dev == d && c.class == class && c.what.equal(w) })
	if i < 0 {
		return nil
	}
	return s.sessions[i]
}

// pastLocked returns the last counts of a session that has ended; nil if they are not known.
func (s *Shipper) pastLocked(name string, class *Class) *counts {
	i := slices.IndexFunc(s.past, func(p pastSession) bool { return p.name == name && p.class == class })
	if i < 0 {
		return nil
	}
	return &s.past[i].counts
}

// expire ends leases. A period may be longer than a tenth of a lease: if this process was stalled,
// by load or by SIGSTOP, requests that would have renewed a lease still wait in its queues.
func (s *Shipper) expire() {
	period := max(s.cfg.Lease/leasePeriods, time.Millisecond)
	t := time.NewTimer(period)
	defer t.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-t.C:
			s.endPeriod()
			t.Reset(period)
		}
	}
}

// endPeriod ends the leases that were not renewed in time.
func (s *Shipper) endPeriod() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range slices.Clone(s.sessions) {
		for reader, l := range c.readers {
			if l.left--; l.left < 0 {
				s.leaveLocked(c, reader, endExpired)
			} else {
				c.readers[reader] = l
			}
		}
	}
}

package attach

import (
	"sync"
	"syscall"
	"time"

	"github.com/rxring/rxring/internal/explain"
)

// A user who connects and closes in a loop must not keep others from attaching. So the
// accept loop asks the kernel for the user ID, and closes what exceeds the user's rate
// before anything else is spent on it. A connection that is refused, for its rate or by
// Config.Grant, gets its answer at once, without waiting for its hello.

const (
	// connectBurst and connectRate bound the connections of one user that are served. Each
	// may cost a goroutine, a call of Config.Grant, buffers and events.
	connectBurst = 2 * maxPeers

	// maxCallers bounds the users whose rates are known. One user may have 65,536 user IDs
	// (subuid(5)).
	maxCallers = 4096
)

// connectRate is per second. Tests change it.
var connectRate = 50

// door bounds how often each user connects. It is used by the accept loop alone.
type door struct {
	callers map[uint32]*bucket // by UID
}

// enter reports whether another connection of the user may be served.
func (d *door) enter(uid uint32, now time.Time) bool {
	b := d.callers[uid]
	if b == nil {
		if len(d.callers) >= maxCallers {
			d.forget()
		}
		b = new(bucket)
		d.callers[uid] = b
	}
	return b.take(now, float64(connectRate), connectBurst)
}

// forget removes a user, whichever the map has first. The user has a full bucket then,
// which is the harmless side to err on: what is behind the door is bounded, too.
func (d *door) forget() {
	for uid := range d.callers {
		delete(d.callers, uid)
		return
	}
}

var tooFast = refusal(errTooFast)

var errTooFast = explain.Errorf(syscall.EAGAIN, "user connects too often: want at most %d connections a second", connectRate)

// arrived serves a new connection, or closes it and returns false.
func (s *Server) arrived(fd int) bool {
	p, err := peerOf(fd)
	if err != nil {
		closeFD(fd)
		return false
	}
	if !s.door.enter(p.UID, time.Now()) {
		tell(fd, tooFast)
		if s.refuses {
			closeFD(fd)
		} else {
			discard(fd)
		}
		s.refusals.add(p, errTooFast)
		return false
	}
	s.all.Go(func() { s.serve(fd, p) })
	return true
}

// refusal is the answer to the hello that a connection has sent or will send.
func refusal(err error) []byte {
	var m message
	m.fail(opHello, helloSeq, err)
	return m.b
}

const (
	// reportEvery is how often refusals are told at most.
	reportEvery = time.Second
	// maxReports bounds the users whose refusals are told one by one each time.
	maxReports = 16
)

// refusals counts refused connections by user, for events: one a second and user.
type refusals struct {
	mu     sync.Mutex
	byUser map[uint32]*Event
	others uint64 // connections of users that byUser has no room for
	news   chan struct{}
}

// add counts a connection that was refused with err.
func (r *refusals) add(p Peer, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byUser[p.UID]
	switch {
	case e == nil && len(r.byUser) >= maxCallers:
		r.others++
		return
	case e == nil:
		e = &Event{Kind: PeerRefused, Err: err}
		r.byUser[p.UID] = e
	case err != errTooFast:
		e.Err = err
	}
	e.Peer = p
	e.Count++
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// take returns the events of what was added since the last time: one for each user, up to
// maxReports, and one for all other users together.
func (r *refusals) take() (events []Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest := Event{Kind: PeersRefused, Count: r.others}
	for _, e := range r.byUser {
		if len(events) < maxReports {
			events = append(events, *e)
			continue
		}
		rest.Peer, rest.Err = e.Peer, e.Err
		rest.Count += e.Count
	}
	if rest.Count > 0 {
		events = append(events, rest)
	}
	clear(r.byUser)
	r.others = 0
	return events
}

// reportRefusals calls Config.Notify for refused connections, until the server is closed.
func (s *Server) reportRefusals() {
	for s.open.Err() == nil {
		select {
		case <-s.open.Done():
		case <-s.refusals.news:
		}
		for _, e := range s.refusals.take() {
			s.config.Notify(e)
		}
		select {
		case <-s.open.Done():
		case <-time.After(reportEvery):
		}
	}
	for _, e := range s.refusals.take() {
		s.config.Notify(e)
	}
}

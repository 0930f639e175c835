package attach

import (
	"sync"
	"time"
)

const (
	// reportEvery is the shortest time between two reports of refusals.
	reportEvery = time.Second
	// maxReports limits the users that one report names.
	maxReports = 16
)

// refusal is the answer to the hello that a connection has sent or will send. A refused
// connection receives it at once: the server does not wait for the hello.
func refusal(err error) []byte {
	var m message
	m.fail(opHello, helloSeq, err)
	return m.b
}

// refusals counts refused connections by user.
type refusals struct {
	mu     sync.Mutex
	byUser map[uint32]*Event
	others uint64        // connections of users beyond the size of byUser
	added  chan struct{} // has an element if there is something to report
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
	case r.added <- struct{}{}:
	default:
	}
}

// take returns and clears the events: one for each of the first maxReports users, and one
// for all others together.
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

// reportRefusals calls Config.Notify for refused connections until the server is closed.
func (s *Server) reportRefusals() {
	for s.ctx.Err() == nil {
		select {
		case <-s.ctx.Done():
		case <-s.refusals.added:
		}
		for _, e := range s.refusals.take() {
			s.config.Notify(e)
		}
		select {
		case <-s.ctx.Done():
		case <-time.After(reportEvery):
		}
	}
	for _, e := range s.refusals.take() {
		s.config.Notify(e)
	}
}

//go:build linux && (amd64 || arm64)

package interpose

import (
	"slices"
	"sync"
	"time"
)

// Closing a descriptor is not trapped, so the session searches regularly for sockets that
// no process holds any more, by a descriptor or a mapping, and closes them. That takes
// two searches in a row that miss the socket, because a descriptor on its way to another
// process in a message (SCM_RIGHTS) shows nowhere. The second one must begin after the
// first one has ended: two that overlap may both have run while the same message was on
// its way.

// How often the session searches. While sockets are in fanout groups it does so more
// often: until it is noticed, a closed socket takes packets from the others of its group.
const (
	sweepInterval       = time.Second
	sweepIntervalGroups = 100 * time.Millisecond
)

// While a socket is new, the session searches more often, but closes nothing. Programs
// open sockets to try something, and a source that waits for readers must not count those
// as readers.
const (
	glanceInterval = 50 * time.Millisecond
	newFor         = 10 * time.Second
)

// restAfterSearch keeps a search among very many descriptors from taking more than a
// fifth of a processor.
const restAfterSearch = 4

// quickSearch is how many descriptors the last search may have inspected for a call to wait
// for the next one: some milliseconds.
const quickSearch = 4096

// sweeper is the state of these searches.
type sweeper struct {
	swept   time.Time // when the last sweep was due
	glanced time.Time // when the last glance was due

	running sync.WaitGroup // a search on a goroutine of its own, one at a time
	busy    bool           // there is one
	last    time.Time      // when the last one of those ended
	took    time.Duration  // and how long it took

	ended     int // the number of searches that have ended
	inspected int // how many descriptors the last one inspected
}

// testHookSearch runs before a search on a goroutine of its own.
var testHookSearch func()

// glance searches for closed sockets, without closing them, if it is time. It needs no search
// while each socket is still where it was seen last.
func (s *session) glance(now time.Time) {
	if s.glances(now) && now.Sub(s.sweeper.glanced) >= glanceInterval {
		s.sweeper.glanced = now
		if slices.ContainsFunc(s.sockets.open, func(p *packetSocket) bool { return !s.isStillHeld(p) }) {
			s.searchApart(false)
		}
	}
}

// isStillHeld reports whether p was held at the last search and is where it was seen last.
func (s *session) isStillHeld(p *packetSocket) bool {
	return !p.missing && !p.disarmed && s.isAt(p, sighting{p.seenTID, p.seenFD})
}

// glances reports whether there is a new socket. The newest one is the last.
func (s *session) glances(now time.Time) bool {
	n := len(s.sockets.open)
	return n > 0 && now.Sub(s.sockets.open[n-1].born) < newFor
}

func (s *session) sweepEvery() time.Duration {
	if slices.ContainsFunc(s.sockets.open, func(p *packetSocket) bool { return p.grouped }) {
		return sweepIntervalGroups
	}
	return sweepInterval
}

// searchApart searches on a goroutine of its own, unless one is running, or the last one
// ended too shortly ago. sweeping says whether it closes what no process holds.
func (s *session) searchApart(sweeping bool) {
	w := &s.sweeper
	if w.busy || time.Since(w.last) < restAfterSearch*w.took || len(s.sockets.open)+len(s.rtnl.open) == 0 {
		return
	}
	var rtnls map[uint64]*rtnlSocket
	if sweeping && s.records.keepEnds {
		rtnls = s.rtnl.open
	}
	f := s.newSearch(rtnls, false)
	w.busy = true
	w.running.Go(func() {
		if testHookSearch != nil {
			testHookSearch()
		}
		began := time.Now()
		f.run()
		s.mu.Lock()
		defer s.mu.Unlock()
		w.busy, w.last, w.took = false, time.Now(), time.Since(began)
		unheld := s.unheld(f)
		if sweeping {
			s.closeMissedTwice(f, unheld)
			s.closeRTNLs(f)
		}
	})
}

// makeRoom closes sockets that no process holds, for a call that makes a new one: they
// count against maxSockets, and take packets from others in their fanout groups. The call
// waits for a quick search, but not for a long one.
func (s *session) makeRoom() {
	if s.sweeper.inspected <= quickSearch {
		s.sweep()
	} else {
		s.searchApart(true)
	}
	if len(s.sockets.open) >= maxSockets {
		s.sweep()
		s.sweep()
	}
}

// sweep searches, and closes what two searches in a row have missed. The caller waits.
func (s *session) sweep() {
	f := s.searchNow()
	s.closeMissedTwice(f, s.unheld(f))
}

// closeUnheld closes the sockets that no process holds after one search, for a program
// that closed one and needs its memory for the next. It returns whether there were any.
func (s *session) closeUnheld() (closed bool) {
	for _, p := range s.unheld(s.searchNow()) {
		s.closeSocket(p)
		closed = true
	}
	return closed
}

// searchNow searches. The caller waits.
func (s *session) searchNow() *search {
	f := s.newSearch(nil, true)
	f.run()
	return f
}

// closeMissedTwice counts a miss of the search f for each socket of unheld, and closes
// those that the search before missed, too.
func (s *session) closeMissedTwice(f *search, unheld []*packetSocket) {
	for _, p := range unheld {
		if p.misses > 0 && f.after < p.missedBy {
			continue // f began before the search that missed it had ended
		}
		p.missedBy = s.sweeper.ended
		if p.misses++; p.misses >= 2 {
			s.closeSocket(p)
		}
	}
}

// unheld applies the result of a search, and lists the sockets that no process holds.
func (s *session) unheld(f *search) (unheld []*packetSocket) {
	s.sweeper.ended++
	s.sweeper.inspected = f.inspected
	for p, at := range f.seen {
		if s.sockets.byInode[p.inode] == p && (!p.disarmed || s.isAt(p, at)) { // it is still open
			p.seenAt(at.tid, at.fd)
		}
	}
	if f.blind {
		return nil
	}
	s.excludeReceiving(f) // calls that were made since the search began
	for _, p := range s.sockets.open {
		if p.missing = f.missing[p]; p.missing {
			unheld = append(unheld, p)
		} else {
			p.misses = 0
		}
		if local, ok := p.backend.(localSocket); ok {
			local.SetHeld(!p.missing)
		}
	}
	return unheld
}

// isAt reports whether p is still where it was seen: it may have been closed since.
func (s *session) isAt(p *packetSocket, at sighting) bool {
	d, err := s.descriptorOf(at.tid, at.fd)
	if err != nil {
		return false
	}
	found, _ := s.sockets.at(d)
	return found == p
}

// sweepRTNL closes the rtnetlink sockets that no process holds, where the kernel does not
// report that because we hold them, too.
func (s *session) sweepRTNL() {
	if s.records.keepEnds {
		f := s.newSearch(s.rtnl.open, true)
		f.findRTNLs()
		s.closeRTNLs(f)
	}
}

func (s *session) closeRTNLs(f *search) {
	if f.blindForRTNLs {
		return
	}
	for inode, r := range f.missingRTNL {
		if s.rtnl.open[inode] == r {
			r.close()
		}
	}
}

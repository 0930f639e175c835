package attach

import (
	"sync/atomic"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/ring"
)

// A program polls its socket each time that it has read all packets. Then the ring, which this
// process can read, shows that there is nothing, and the server need only be asked for a wake-up,
// which it does not answer. A socket that is armed already need not even be asked: of a ring of
// blocks, whose writers wake its reader for each block, several wake-ups are asked for at once. The
// server is asked for its events if it may have one that the ring does not show, and if the ring
// has packets: whether it is readable depends on where its writers are, which only blocks show.

// poller is a Socket's part for that.
type poller struct {
	view  atomic.Pointer[ringView] // of the mapped ring; nil: it is not mapped here, or has many slots
	left  atomic.Int32             // wake-ups that opArm has asked for and that were not received
	wakes atomic.Int32             // how many opArm asks for; set with view
	// There may be an event that the ring does not show, unless the two are equal: how often that
	// was so, and up to which time the server's answer was that there is none.
	mores, none atomic.Uint64
}

// Poll is [rxring.Socket.Events], Readable and QueuedBytes. Unless w is nil, it arms w first: see
// Arm.
func (s *Socket) Poll(w ring.Waker) (e rxring.Events, readable bool, queued int) {
	if w != nil {
		s.notify.Arm(w)
		switch {
		case s.armEmpty():
			return 0, false, 0
		case s.isArmedAndReadable():
			return rxring.EventIn, true, 0
		}
	}
	return s.poll(w != nil)
}

// armEmpty has the server send a wake-up, and reports whether there is no event. If it is not
// sure, the server must be asked.
func (s *Socket) armEmpty() bool {
	p := &s.poller
	view := p.view.Load()
	if view == nil || p.mores.Load() != p.none.Load() || s.down.Load() || !view.isEmpty() {
		return false
	}
	wakes := p.wakes.Load()
	if p.left.CompareAndSwap(0, wakes) && s.client.send(opArm, s.id, uint32(wakes)) != nil {
		return false
	}
	return view.isEmpty() // after it is armed: see package notify
}

// isArmedAndReadable reports whether the server has been asked for a wake-up, and need not be asked
// for its events: the ring is readable.
func (s *Socket) isArmedAndReadable() bool {
	p := &s.poller
	view := p.view.Load()
	return view != nil && p.left.Load() > 0 && p.mores.Load() == p.none.Load() && !s.down.Load() && view.isReadable()
}

// poll asks the server.
func (s *Socket) poll(arm bool) (e rxring.Events, readable bool, queued int) {
	mores := s.poller.mores.Load() // first: the server may send a wake-up before the answer is read
	err := s.call(opPoll, func(m *message) { m.flag(arm) }, func(m *message) {
		e, readable, queued = rxring.Events(m.word()), m.yes(), int(m.long())
	})
	if err != nil || e&^rxring.EventIn != 0 || queued > 0 {
		s.poller.mores.Add(1)
	} else {
		s.poller.none.Store(mores)
	}
	if s.down.Load() {
		e |= rxring.EventErr
		if arm && err != nil {
			s.notify.Wake() // setDown may have run before Arm
		}
	}
	if e&rxring.EventErr != 0 && err == nil {
		// A program whose device is down checks at once whether the device still exists, and
		// libpcap checks only once.
		s.client.followDevices()
	}
	return e, readable, queued
}

// woken handles a wake-up with its flags.
func (s *Socket) woken(flags uint16) {
	if flags&flagMore != 0 {
		s.poller.mores.Add(1)
	}
	for n := s.poller.left.Load(); n > 0 && !s.poller.left.CompareAndSwap(n, n-1); { // 0: opPoll asked for it
		n = s.poller.left.Load()
	}
	s.notify.Wake() // last: see armEmpty
}

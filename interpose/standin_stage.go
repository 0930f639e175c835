//go:build linux && (amd64 || arm64)

package interpose

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
)

// read is not trapped: it returns what lies in the stand-in. So of a socket without a
// ring a copy of the first packet in the queue lies there, and makes the stand-in
// readable. That packet is staged. It leaves the queue when its copy turns out to have
// been read.

// stage makes the stand-in of a socket without a ring as readable as its queue.
func (p *packetSocket) stage() {
	ev := p.backend.armedEvents(&p.arrivals)
	if p.showError(ev) {
		return
	}
	p.checkStaged()
	if p.staged && p.missedEdge {
		p.unstage() // staged again below: that is the edge
	}
	p.missedEdge = false
	if !p.staged && ev&rxring.EventIn != 0 {
		p.stageFirst()
	}
}

// stageFirst stages the first packet.
func (p *packetSocket) stageFirst() {
	b, ok := p.first()
	if !ok {
		return
	}
	if p.waker.send(b) != nil && p.waker.send(nil) != nil { // the pair has no room for that many bytes
		return
	}
	p.staged = true
}

// checkStaged finds out whether the staged packet has been read.
func (p *packetSocket) checkStaged() {
	if p.staged && !p.readable() {
		p.discardStaged()
	}
}

// discardStaged removes the packet that was read from the queue.
func (p *packetSocket) discardStaged() {
	p.backend.Discard()
	p.staged = false
}

// unstage removes the copy from the stand-in. If it has been read, the packet leaves the
// queue.
func (p *packetSocket) unstage() {
	if p.staged && p.drain(drainAll) == 0 {
		p.discardStaged()
	}
	p.staged = false
}

// first is a copy of the first packet in the queue.
func (p *packetSocket) first() ([]byte, bool) {
	_, b, err := p.s.peek(p.backend.Peek, maxRW)
	return b, err == nil || errnoOf(err) == unix.EINVAL
}

// arrivalWaker has the session stage a packet when it arrives. Writers call Wake, from
// any goroutine.
type arrivalWaker struct {
	arrived atomic.Bool // a packet, since stageArrivals last looked
	wakeup  wakeup
}

// Wake implements ring.Waker.
func (w *arrivalWaker) Wake() {
	w.arrived.Store(true)
	w.wakeup.Wake()
}

// stageArrivals attends to the sockets without a ring for which a packet has arrived.
func (s *session) stageArrivals() {
	for _, p := range s.sockets.open {
		if !p.arrivals.arrived.Swap(false) || p.ringed || p.disarmed || p.showError(p.backend.Events()) {
			continue
		}
		if p.checkStaged(); p.staged && p.edges {
			// Stage it again: each packet is an edge. Between the two calls a poll that
			// does not wait may find nothing.
			p.unstage()
			p.stageFirst()
			p.missedEdge = true // until it is armed again
		}
		if !p.staged {
			p.stage()
		}
	}
}

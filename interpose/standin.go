//go:build linux && (amd64 || arm64)

package interpose

import (
	"sync"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/shortcall"
)

// The program holds one end of a pair of datagram sockets, the stand-in of its packet
// socket. It is readable while a datagram that we sent through the other end lies in
// it, so a program that polls it, in whatever way, waits in the kernel. With a ring the
// datagrams are empty, and say only that the ring is readable.

// endWaker makes a stand-in readable by way of our end. Writers of a ring call Wake,
// from any goroutine.
type endWaker struct {
	mu        sync.Mutex // held for one system call at most: a writer may wait for it
	end       int        // -1: closed
	queued    int        // datagrams sent and not taken back, about
	wakes     uint64     // calls of Wake so far
	suspended bool       // the stand-in shows an error, and nothing else
	disarmed  bool       // a wake-up that was under way at disarm is discarded
}

// Wake implements ring.Waker.
func (w *endWaker) Wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wakes++; !w.disarmed {
		w.sendLocked(nil)
	}
}

// send sends a datagram.
func (w *endWaker) send(b []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sendLocked(b)
}

func (w *endWaker) sendLocked(b []byte) error {
	if w.end < 0 || w.suspended {
		return unix.EBADF
	}
	err := shortcall.Send(w.end, b)
	if err == nil {
		w.queued++
	}
	return err
}

// open begins to use another end.
func (w *endWaker) open(end int) {
	w.mu.Lock()
	w.end, w.queued = end, 0
	w.mu.Unlock()
}

func (w *endWaker) close() {
	w.mu.Lock()
	unix.Close(w.end)
	w.end = -1
	w.mu.Unlock()
}

// suspend discards what is sent until resume.
func (w *endWaker) suspend() {
	w.mu.Lock()
	w.suspended = true
	w.mu.Unlock()
}

func (w *endWaker) resume() {
	w.mu.Lock()
	w.suspended, w.queued = false, 0
	w.mu.Unlock()
}

func (w *endWaker) setDisarmed(disarmed bool) {
	w.mu.Lock()
	w.disarmed = disarmed
	w.mu.Unlock()
}

// takeQueued returns the number of datagrams that are queued, and sets it to 0.
func (w *endWaker) takeQueued() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.queued
	w.queued = 0
	return n
}

func (w *endWaker) addQueued(n int) {
	w.mu.Lock()
	w.queued += n
	w.mu.Unlock()
}

// wakeCount is the number of wake-ups by writers so far.
func (w *endWaker) wakeCount() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wakes
}

// maxQueued is less than net.unix.max_dgram_qlen, which is 10 by default.
const maxQueued = 4

// refresh makes the stand-in as readable as the ring, and arms the waker for the next
// packet. The state is in the kernel's queue: the program may have read datagrams.
//
// The waker is armed even while the ring is readable, because Linux reports each new
// packet to those that wait for edges. Packets that arrived between the last wake-up
// and this call have caused no wake-up, so they are an edge now.
//
// While an error is pending, the stand-in shows only that.
func (p *packetSocket) refresh() {
	if p.disarmed { // a poll names it, or may mean it: it is to be woken until the next disarm
		p.waker.setDisarmed(false)
	}
	if !p.ringed {
		p.stage()
		return
	}
	for {
		before := p.waker.wakeCount()
		ev := p.backend.armedEvents(&p.waker)
		switch {
		case p.showError(ev):
			return
		case ev&rxring.EventIn != 0:
			p.signal(p.edges && before != p.wakesSeen)
			p.wakesSeen = before // wake-ups since then, and packets after them, are the next call's
			return
		}
		p.drain(drainAll)
		p.waker.takeQueued()
		if p.waker.wakeCount() == before {
			p.wakesSeen = before
			return
		}
		// A packet arrived, and its datagram may be among those drained.
	}
}

// signal makes the stand-in readable. With edge it is also an event for those that wait
// for edges.
func (p *packetSocket) signal(edge bool) {
	if !p.readable() {
		p.waker.takeQueued()
		p.waker.send(nil)
		return
	}
	if edge {
		p.waker.send(nil)
	}
	n := p.waker.takeQueued()
	if n <= maxQueued {
		p.waker.addQueued(n)
		return
	}
	p.waker.send(nil) // first, so that it is readable all the time
	p.drain(n)
	if !p.readable() {
		p.waker.send(nil)
	}
}

// readable reports whether something lies in the stand-in.
func (p *packetSocket) readable() bool { return p.polled()&unix.POLLIN != 0 }

// polled is what poll reports for the stand-in.
func (p *packetSocket) polled() int16 {
	events, _ := shortcall.Poll(p.standIn, unix.POLLIN)
	return events
}

// drain removes up to most datagrams from the stand-in, and returns their number. It may wait: the
// kernel holds a lock while a read of the program, in another thread, copies to memory of its
// choice.
func (p *packetSocket) drain(most int) (n int) {
	var b [1]byte
	for ; n < most; n++ {
		if _, _, err := unix.Recvfrom(p.standIn, b[:], unix.MSG_DONTWAIT); err != nil {
			break
		}
	}
	return n
}

// drainAll is more datagrams than a socket holds.
const drainAll = 1 << 20

// disarm keeps a socket that no process seems to hold from becoming readable. Its
// descriptor may be on its way to another process: the sweep decides.
func (p *packetSocket) disarm() {
	p.disarmed = true
	p.backend.Disarm(&p.waker)
	p.backend.Disarm(&p.arrivals)
	p.waker.setDisarmed(true) // before the drain: a writer may be about to call Wake
	p.unstage()
	p.drain(drainAll)
	p.waker.takeQueued()
}

// seenAt notes where a socket was found.
func (p *packetSocket) seenAt(tid int, fd int32) {
	p.seenTID, p.seenFD = tid, fd
	if p.disarmed {
		p.disarmed = false
		p.waker.setDisarmed(false)
		p.refresh()
	}
}

// watchEnd watches our end, where what the program writes arrives.
func (p *packetSocket) watchEnd() {
	if err := p.s.pairs.add(p.waker.end, p.watched()); err != nil {
		p.s.warnf("packet socket: %v: frames that the program writes will not be sent", err)
	}
}

// watched is what is watched for at our end.
func (p *packetSocket) watched() uint32 {
	if p.ringed {
		return whatIsWritten
	}
	return whatIsReadOrWritten
}

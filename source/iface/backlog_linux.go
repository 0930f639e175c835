package iface

import (
	"math"
	"slices"
	"time"

	"github.com/rxring/rxring"
)

// The kernel numbers nothing, but PACKET_STATISTICS says exactly how many packets
// it has put into a ring (tp_packets less tp_drops), under the lock that it puts
// them there with; and a ring's packets are read in the order of the ring. So a
// count of packets is a place in the ring: no clock is asked.

// backlog is what the kernel's rings hold of a Source's packets.
type backlog struct{ *Source }

var _ rxring.Backlog = backlog{}

// ReportLost implements [rxring.Backlog].
func (b backlog) ReportLost() {
	for _, d := range b.drains() {
		d.reportLost()
	}
}

// Mark implements [rxring.Backlog].
func (b backlog) Mark() {
	for _, d := range b.drains() {
		d.mark()
	}
}

// Flush implements [rxring.Backlog]. It waits for Config.Retire, and for readers as
// long as the drains do.
func (b backlog) Flush() (left uint64) {
	drains := b.drains()
	until := make([]uint64, len(drains))
	for i, d := range drains {
		until[i] = d.reportLost()
	}
	end := time.Now().Add(b.cfg.Retire + maxAlone + finishTime)
	for i, d := range drains {
		left += d.wait(until[i], end)
	}
	return left
}

// wait returns when the ring's packets up to a place are delivered, and how many of them
// are not: the time has come. What a drain leaves that has stopped is for giveUp to count.
func (d *drain) wait(until uint64, end time.Time) (left uint64) {
	for {
		got := d.packets.Load() // pairs with the store in release
		switch {
		case got >= until || d.stopped():
			return 0
		case time.Now().After(end):
			return until - got
		}
		time.Sleep(time.Millisecond)
	}
}

// stopped reports whether the drain's goroutine delivers no more.
func (d *drain) stopped() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// drains are those of the open tap, none while it is not open. Source.mu is not
// taken: it is held while the kernel opens and closes sockets.
func (s *Source) drains() []*drain {
	if all := s.open.Load(); all != nil { // pairs with the stores in openTap and closeTapLocked
		return *all
	}
	return nil
}

// mark is a place in a ring, and when the packets before it came.
type mark struct {
	until uint64 // packets
	at    rxring.Moment
}

// mark remembers that what is in the ring now came before the sockets that are bound
// next. When it returns, no packet from before is being delivered.
func (d *drain) mark() {
	d.delivering.Lock()
	defer d.delivering.Unlock()
	until := d.reportLost()
	if n := len(d.marks); until > d.packets.Load() && (n == 0 || until > d.marks[n-1].until) {
		d.marks = append(d.marks, mark{until, d.dev.Moment()}) // the moment last: see rxring.Backlog
	}
}

// latest is after every bind.
const latest = rxring.Moment(math.MaxUint64)

// inPieces has packets delivered, the first of which has a number, those from before a
// mark to those who were bound then.
func (d *drain) inPieces(number uint64, ps []rxring.Packet, deliver func(rxring.Moment, []rxring.Packet)) {
	d.delivering.Lock()
	defer d.delivering.Unlock()
	done := d.packets.Load()
	d.marks = slices.DeleteFunc(d.marks, func(m mark) bool { return m.until <= done })
	for _, m := range d.marks {
		if len(ps) == 0 {
			return
		}
		if m.until > number {
			n := min(m.until-number, uint64(len(ps)))
			deliver(m.at, ps[:n])
			number += n
			ps = ps[n:]
		}
	}
	if len(ps) > 0 {
		deliver(latest, ps)
	}
}

// reportLost tells the device what the ring had no room for since the last time. It
// returns how many packets the kernel has put into the ring so far.
func (d *drain) reportLost() (taken uint64) {
	d.reporting.Lock()
	defer d.reporting.Unlock()
	now, _ := d.handle.Stats() // the last answer, if it is closed
	d.dev.Lost(now.Drops - d.reported)
	d.reported = now.Drops
	return now.Packets - now.Drops
}

// reportEvery is after how many batches losses are reported though nobody asks: for
// TP_STATUS_LOSING.
const reportEvery = 8

// finishTime is how long to wait for what is in a ring. A block is handed over after
// Config.Retire; on a busy machine later.
const finishTime = time.Second

// settle waits until what is in the rings has been delivered, if there are sockets
// that are to get it. Nothing more comes: the interface has gone down, or filters let
// nothing pass.
func settle(drains []*drain) {
	end := time.Now().Add(finishTime)
	for _, d := range drains {
		for d.behind() && time.Now().Before(end) {
			time.Sleep(time.Millisecond)
		}
	}
}

// behind reports whether the ring holds packets that will be delivered to sockets.
func (d *drain) behind() bool {
	return !d.stopped() && d.dev.HasListeners() && d.reportLost() > d.packets.Load()
}

// giveUp counts what the ring still holds as lost: the drain has stopped, and the ring
// is closed.
func (d *drain) giveUp() {
	if taken, got := d.reportLost(), d.packets.Load(); taken > got {
		d.dev.Lost(taken - got)
	}
}

package iface

import (
	"math"
	"slices"
	"time"

	"github.com/rxring/rxring"
)

// The kernel does not number packets, but PACKET_STATISTICS returns exactly how many it has
// written to a ring (tp_packets less tp_drops), under the lock that it writes with; and
// packets are read in the ring's order. So a count of packets is a position in the ring, and
// no clock is needed.

// backlog is the set of a Source's packets that are still in the kernel's rings.
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

// Flush implements [rxring.Backlog]. It waits for Config.Retire, and for late readers as long
// as the drains do.
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

// wait returns once the ring's packets up to a position are delivered, or at end, with the
// number that are not. giveUp counts those of a drain that has stopped.
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

// drains returns those of the open tap; none while it is closed. It does not acquire
// Source.mu, which is held while the kernel opens and closes sockets.
func (s *Source) drains() []*drain {
	if all := s.open.Load(); all != nil { // pairs with the stores in openTap and closeTapLocked
		return *all
	}
	return nil
}

// mark is a position in a ring, and a moment after its earlier packets' arrival.
type mark struct {
	until uint64 // packets before it
	at    rxring.Moment
}

// mark records that the packets now in the ring arrived before the sockets that are bound
// next. No earlier packet is being delivered when it returns.
func (d *drain) mark() {
	d.delivering.Lock()
	defer d.delivering.Unlock()
	until := d.reportLost()
	if n := len(d.marks); until > d.packets.Load() && (n == 0 || until > d.marks[n-1].until) {
		d.marks = append(d.marks, mark{until, d.dev.Moment()}) // the moment last: see rxring.Backlog
	}
}

// latest is a moment after every bind.
const latest = rxring.Moment(math.MaxUint64)

// inPieces calls deliver for the packets, the first of which has that number: those before a
// mark with its moment, for the sockets that were bound then.
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

// reportLost reports to the device how many packets the ring has dropped since the last call.
// It returns how many packets the kernel has written to the ring so far.
func (d *drain) reportLost() (taken uint64) {
	d.reporting.Lock()
	defer d.reporting.Unlock()
	now, _ := d.handle.Stats() // the last answer, if it is closed
	d.dev.Lost(now.Drops - d.reported)
	d.reported = now.Drops
	return now.Packets - now.Drops
}

// reportEvery is the number of batches after which losses are reported in any case, for
// TP_STATUS_LOSING.
const reportEvery = 64

// finishTime bounds the wait for a ring's last packets. A block is retired after
// Config.Retire; on a busy machine later.
const finishTime = time.Second

// settle waits until the rings' packets are delivered, if there are sockets to receive them.
// No more packets arrive: the interface is down, or the filter rejects all.
func settle(drains []*drain) {
	end := time.Now().Add(finishTime)
	for _, d := range drains {
		for d.behind() && time.Now().Before(end) {
			time.Sleep(time.Millisecond)
		}
	}
}

// behind reports whether the ring has packets that will be delivered to sockets.
func (d *drain) behind() bool {
	return !d.stopped() && d.dev.HasListeners() && d.reportLost() > d.packets.Load()
}

// giveUp counts the packets left in the ring as lost: the drain has stopped, and the ring is
// closed.
func (d *drain) giveUp() {
	if taken, got := d.reportLost(), d.packets.Load(); taken > got {
		d.dev.Lost(taken - got)
	}
}

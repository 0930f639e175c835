package rxring

import (
	"math/bits"
	"math/rand/v2"
	"sync/atomic"

	"github.com/rxring/rxring/ring"
)

// meter samples what writers spend on the packets of a socket, or of a fanout group, that has
// an [Account]. Writers use it concurrently; its zero value samples the next packet.
type meter struct {
	left atomic.Int32 // packets until the next sample, which finds 0
	gap  atomic.Int32 // packets before it that it stands for, too
	mean atomic.Int64 // nanoseconds a packet, lately; 0: no sample yet
	last atomic.Int64 // nanoseconds a packet in the last sample

	share atomic.Pointer[share] // the last that was used
}

const (
	// maxGap is how many packets a sample stands for, on average, if they are cheap.
	maxGap = 32
	// exactFrom is what a packet costs from which on each is measured, in nanoseconds: to
	// read the clock twice takes 50.
	exactFrom = 2048
	// outlier is what one sample costs at most, in nanoseconds, unless the one before was as
	// dear: the system may have let another thread run in its middle.
	outlier = 500_000
	// standFor is what each of the packets that a sample stands for costs at most, likewise:
	// more than a program of 4096 instructions takes.
	standFor = 32_000
)

// shareOf is the account's share of the device's writers.
func (m *meter) shareOf(ns *Namespace, of *Account, ifindex int32) *share {
	s := m.share.Load()
	if s == nil || s.account != of || s.ifindex != ifindex {
		s = of.shareOf(ns, ifindex)
		m.share.Store(s)
	}
	return s
}

// due reports whether the next packet is to be measured.
func (m *meter) due() bool { return m.left.Add(-1) == -1 }

// sample charges a share for a packet that was measured, and for those that it stands for.
func (m *meter) sample(s *share, w stopwatch) {
	t, nanoseconds := w.stop()
	s.charge(t, m.weigh(nanoseconds), w.exact)
}

// weigh returns what a packet that took so many nanoseconds is charged, with those that it
// stands for, and says when to measure next.
func (m *meter) weigh(nanoseconds int64) int64 {
	taken, mean := m.note(1, nanoseconds)
	gap := int32(1)
	if most := int32(min(exactFrom/mean, maxGap)); most > 1 {
		gap = 1 + rand.Int32N(2*most-1) // nobody knows which packet is measured
	}
	before := int64(m.gap.Swap(gap - 1))
	meanwhile := int64(-1 - m.left.Swap(gap-1)) // by other writers
	return taken + (before+max(meanwhile, 0))*min(taken, standFor)
}

// batch charges a share for n packets that were measured together.
func (m *meter) batch(s *share, n int64, w stopwatch) {
	t, nanoseconds := w.stop()
	taken, _ := m.note(n, nanoseconds)
	s.charge(t, taken, w.exact)
}

// note returns what n packets are charged that took so many nanoseconds, and what one
// takes on average.
func (m *meter) note(n, nanoseconds int64) (taken, mean int64) {
	taken = min(nanoseconds, max(outlier, 2*n*m.last.Swap(nanoseconds/n)))
	mean = taken / n
	if before := m.mean.Load(); before != 0 {
		mean = before + (mean-before)/8
	}
	mean = max(mean, 1)
	m.mean.Store(mean)
	return taken, mean
}

// reset has the next packet measured: the filter is another one, say. It stands for those
// before it, too, lest packets are free of charge whose filter changes all the time.
func (m *meter) reset() { m.left.Store(0) }

// takeMetered is take for a socket with an account, of what its grant leaves of a packet.
func (s *Socket) takeMetered(rx *receiver, p *Packet, a *arrival) {
	if rx.ignoreOutgoing && p.Outgoing {
		return
	}
	sh := s.meter.shareOf(s.ns, rx.account, a.from.Ifindex)
	switch {
	case sh.exceeded():
		s.throttle(rx.account)
	case s.meter.due():
		watch := sh.start()
		s.take(rx.own, p, a)
		s.meter.sample(sh, watch)
	default:
		s.take(rx.own, p, a)
	}
}

// receiveBatchMetered is receiveBatch for a socket with an account whose grant leaves all of
// each packet.
func (s *Socket) receiveBatchMetered(rx *receiver, ps []Packet, as []arrival, mask batchMask) {
	sh := s.meter.shareOf(s.ns, rx.account, as[mask.first()].from.Ifindex)
	if !sh.exceeded() {
		watch := sh.start()
		s.receiveBatchOwn(rx.own, ps, as, mask)
		s.meter.batch(sh, int64(bits.OnesCount32(uint32(mask))), watch)
		return
	}
	for i := range ps {
		if mask&(1<<i) != 0 && as[i].length != 0 && s.wants(&ps[i], &as[i]) && !(rx.ignoreOutgoing && ps[i].Outgoing) {
			s.throttle(rx.account)
		}
	}
}

// deliverMetered is deliver for a packet that a group with an account wants. Choosing a member
// is measured, too.
func (g *group) deliverMetered(of *Account, p *Packet, a *arrival) {
	members := *g.members.Load() // pairs with the stores in link and unlink
	if len(members) == 0 {
		return
	}
	sh := g.meter.shareOf(members[0].ns, of, a.from.Ifindex)
	if sh.exceeded() {
		if gr := g.grant.Load(); gr == nil || gr.judge(p, a) > 0 {
			members[0].throttle(of)
		}
		return
	}
	if !g.meter.due() {
		g.pass(p, a)
		return
	}
	watch := sh.start()
	g.pass(p, a)
	g.meter.sample(sh, watch)
}

// deliverBatchMetered is deliverBatch for a group with an account and members whose grants
// leave all of each packet.
func (g *group) deliverBatchMetered(of *Account, members []*Socket, ps []Packet, as []arrival) {
	sh := g.meter.shareOf(members[0].ns, of, as[0].from.Ifindex)
	if !sh.exceeded() {
		watch := sh.start()
		g.passBatch(members, ps, as)
		g.meter.batch(sh, int64(len(ps)), watch)
		return
	}
	for i := range ps {
		if as[i].length > 0 && g.wants(&ps[i], &as[i]) {
			members[0].throttle(of)
		}
	}
}

// throttle counts a packet that the socket does not get because its user takes too much time.
func (s *Socket) throttle(of *Account) {
	s.drop(ring.Throttled, 1)
	of.throttled.Add(1)
}

package rxring

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/fairshare"
	"github.com/rxring/rxring/ring"
)

// Account is what the sockets of one user share beside their [Budget]: their part of the
// writers' time, and their memberships. A socket whose [Grant] has an Account cannot take
// much of either from others:
//
//   - What writers spend on its packets (its filter, its ring, its queue) is measured by
//     sampling. Of one writer's time on a device a user takes at most a quarter, and all
//     users together half. Where they want more, those who want most get equal parts. A
//     user who is alone takes three quarters. Times are measured in windows of 20 ms. Packets
//     beyond that are dropped for the user's sockets, and counted as [ring.Throttled].
//   - All its sockets together have at most 64 memberships: ENOBUFS.
//   - Its filters are compiled by [cbpf.CompileBounded]. A source is told only of those that are
//     short and cheap: see [Device.Filters].
//
// All methods may be called concurrently. An Account is of one namespace.
type Account struct {
	memberships atomic.Int32
	throttled   atomic.Uint64
	shares      sync.Map // device index (int32) -> *deviceShare
}

// NewAccount returns an Account for the sockets of one user.
func NewAccount() *Account { return new(Account) }

// Throttled is how many packets were dropped so far because the user's sockets took too much
// time: the sum of their [ring.Throttled].
func (a *Account) Throttled() uint64 { return a.throttled.Load() }

// maxAccountMemberships is how many memberships the sockets of an Account have together. A
// program that asks for more listens to everything (PACKET_MR_ALLMULTI).
const maxAccountMemberships = 64

// acquireMembership reports whether the account may have one more. A nil account may.
func (a *Account) acquireMembership() bool {
	if a == nil {
		return true
	}
	if a.memberships.Add(1) > maxAccountMemberships {
		a.memberships.Add(-1)
		return false
	}
	return true
}

func (a *Account) releaseMembership() {
	if a != nil {
		a.memberships.Add(-1)
	}
}

// shareOf returns the account's share of the time of the device's writers.
func (a *Account) shareOf(ns *Namespace, ifindex int32) *deviceShare {
	if s, ok := a.shares.Load(ifindex); ok {
		return s.(*deviceShare)
	}
	p, _ := ns.pools.LoadOrStore(ifindex, new(fairshare.Pool))
	s, _ := a.shares.LoadOrStore(ifindex, &deviceShare{fairshare.NewShare(p.(*fairshare.Pool)), a, ifindex})
	return s.(*deviceShare)
}

// Budget is memory that sockets share: of their rings, with what is kept privately for
// each slot or block; of the packets in their queues, in the currency of SO_RCVBUF; of
// filters and fanout programs; and of what else is charged to it. It is held besides the
// namespace's bound, and given back when these go. All methods may be called concurrently.
type Budget struct {
	max  atomic.Int64
	held atomic.Int64

	reserve int64        // of NamespaceConfig.Reserved
	packets atomic.Int64 // bytes for packets: what is past reserve is taken from the namespace's common memory
}

// NewBudget returns a budget of max bytes.
func NewBudget(max int64) *Budget {
	b := new(Budget)
	b.SetMax(max)
	return b
}

// NewBudgetWithReserve is NewBudget with a share of [NamespaceConfig].Reserved: that much
// memory for packets is there for the budget's sockets however much others take. A budget
// with a reserve is for one namespace. The reserves of all its budgets together must be at
// most what it has reserved.
func NewBudgetWithReserve(max, reserve int64) *Budget {
	b := NewBudget(max)
	b.reserve = reserve
	return b
}

// SetMax makes the bound another one. What is held past it stays so.
func (b *Budget) SetMax(max int64) { b.max.Store(max) }

// Held is how many bytes are taken.
func (b *Budget) Held() int64 { return b.held.Load() }

// acquire takes n bytes, if there are so many left. A nil budget has no bound.
func (b *Budget) acquire(n int64) bool {
	if b == nil {
		return true
	}
	if b.held.Add(n) > b.max.Load() {
		b.held.Add(-n)
		return false
	}
	return true
}

func (b *Budget) release(n int64) {
	if b != nil {
		b.held.Add(-n)
	}
}

// addPastReserve returns how much the memory for packets past b's reserve grows when n bytes, which
// may be negative, are added to it.
func (b *Budget) addPastReserve(n int64) int64 {
	if b == nil {
		return n
	}
	held := b.packets.Add(n)
	return max(0, held-b.reserve) - max(0, held-n-b.reserve)
}

// errExhausted says why take(n) failed.
func (b *Budget) errExhausted(n int64) error {
	most := b.max.Load()
	return explain.Errorf(syscall.ENOMEM, "%d bytes: the memory budget has %d of %d bytes left", n, max(0, most-b.Held()), most)
}

// Charge is what one thing has taken from a [Budget]. The zero value has taken nothing. Its
// methods may not be called concurrently.
type Charge struct {
	budget *Budget
	n      int64
}

// Replace takes n bytes from b in place of what c has taken: ENOMEM if there are not so
// many left, and then c stays as it is. A nil b has no bound.
func (c *Charge) Replace(b *Budget, n int64) error {
	if !b.acquire(n) {
		return b.errExhausted(n)
	}
	c.Release()
	*c = Charge{b, n}
	return nil
}

// Release gives back what c has taken.
func (c *Charge) Release() {
	c.budget.release(c.n)
	*c = Charge{}
}

// meter samples the time that writers spend on the packets of a socket, or of a fanout
// group, that has an [Account]. Writers use it concurrently.
type meter struct {
	fairshare.Meter
	share atomic.Pointer[deviceShare] // the last one used
}

// deviceShare is an account's share of the time of one device's writers.
type deviceShare struct {
	*fairshare.Share
	account *Account
	ifindex int32
}

func (m *meter) shareOf(ns *Namespace, of *Account, ifindex int32) *deviceShare {
	s := m.share.Load()
	if s == nil || s.account != of || s.ifindex != ifindex {
		s = of.shareOf(ns, ifindex)
		m.share.Store(s)
	}
	return s
}

// receiveMetered is take for a socket with an account, of what its grant leaves of a packet.
func (s *Socket) receiveMetered(rx *rxOptions, p *Packet, meta *packetMeta) {
	if rx.ignoreOutgoing && p.Outgoing {
		return
	}
	sh := s.meter.shareOf(s.ns, rx.account, meta.from.Ifindex)
	switch {
	case sh.Exceeded():
		s.throttle(rx.account)
	case s.meter.Due():
		watch := sh.Start()
		s.receiveOne(rx.unrestricted, p, meta)
		s.meter.Sample(watch)
	default:
		s.receiveOne(rx.unrestricted, p, meta)
	}
}

// receiveBatchMetered is receiveBatch for a socket with an account whose grant leaves all of
// each packet.
func (s *Socket) receiveBatchMetered(rx *rxOptions, ps []Packet, metas []packetMeta, mask batchMask) {
	sh := s.meter.shareOf(s.ns, rx.account, metas[mask.first()].from.Ifindex)
	if !sh.Exceeded() {
		watch := sh.Start()
		s.receiveBatchUnrestricted(rx.unrestricted, ps, metas, mask)
		s.meter.Batch(int64(bits.OnesCount32(uint32(mask))), watch)
		return
	}
	for i := range ps {
		if mask&(1<<i) != 0 && metas[i].length != 0 && s.wants(&ps[i], &metas[i]) && !(rx.ignoreOutgoing && ps[i].Outgoing) {
			s.throttle(rx.account)
		}
	}
}

// deliverMetered is deliver for a packet that a group with an account wants. Choosing a member
// is measured, too.
func (g *group) deliverMetered(of *Account, p *Packet, meta *packetMeta) {
	members := *g.members.Load() // pairs with the stores in link and unlink
	if len(members) == 0 {
		return
	}
	sh := g.meter.shareOf(members[0].ns, of, meta.from.Ifindex)
	if sh.Exceeded() {
		if gr := g.grant.Load(); gr == nil || gr.visibleBytes(p, meta) > 0 {
			members[0].throttle(of)
		}
		return
	}
	if !g.meter.Due() {
		g.deliverUnmetered(p, meta)
		return
	}
	watch := sh.Start()
	g.deliverUnmetered(p, meta)
	g.meter.Sample(watch)
}

// deliverBatchMetered is deliverBatch for a group with an account and members whose grants
// leave all of each packet.
func (g *group) deliverBatchMetered(of *Account, members []*Socket, ps []Packet, metas []packetMeta) {
	sh := g.meter.shareOf(members[0].ns, of, metas[0].from.Ifindex)
	if !sh.Exceeded() {
		watch := sh.Start()
		g.deliverBatchUnmetered(members, ps, metas)
		g.meter.Batch(int64(len(ps)), watch)
		return
	}
	for i := range ps {
		if metas[i].length > 0 && g.wants(&ps[i], &metas[i]) {
			members[0].throttle(of)
		}
	}
}

// throttle counts a packet that the socket does not get because its user takes too much time.
func (s *Socket) throttle(of *Account) {
	s.drop(ring.Throttled, 1)
	of.throttled.Add(1)
}

package rxring

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"weak"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/fairshare"
	"github.com/rxring/rxring/ring"
)

// Account limits what the sockets of one user, whose [Grant]s have it, cost others beside
// memory (see [Budget]): writers' time and memberships.
//
//   - The time that writers spend on the sockets' packets (filter, ring, queue) is sampled
//     in windows of 20 ms. Of one writer's time on a device a user gets at most a quarter,
//     and all users together half; a single user gets three quarters. If demand is higher,
//     the largest users get equal shares. Packets beyond a share are dropped for the user's
//     sockets, and counted as [ring.Throttled].
//   - All its sockets together have at most 64 memberships: ENOBUFS.
//   - Its filters are compiled by [cbpf.CompileBounded]. [Device.Filters] returns only
//     those that are short and cheap.
//
// All methods may be called concurrently. An Account belongs to one namespace.
type Account struct {
	memberships atomic.Int32
	throttled   atomic.Uint64
	shares      sync.Map // device index (int32) -> *deviceShare
}

// NewAccount returns an Account for the sockets of one user.
func NewAccount() *Account { return new(Account) }

// Throttled returns how many packets were dropped because the user's sockets used too much
// time: the sum of their [ring.Throttled].
func (a *Account) Throttled() uint64 { return a.throttled.Load() }

// maxAccountMemberships is how many memberships the sockets of an Account have together. A
// program that asks for more listens to everything (PACKET_MR_ALLMULTI).
const maxAccountMemberships = 64

// acquireMembership reports whether the account may have one more membership. A nil account
// has no limit.
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
	p, _ := ns.pools.LoadOrStore(ifindex, new(devicePool))
	pool := p.(*devicePool)
	pool.remember(a)
	s, _ := a.shares.LoadOrStore(ifindex, &deviceShare{fairshare.NewShare(&pool.Pool), a, ifindex})
	return s.(*deviceShare)
}

// devicePool is the time of one device's writers.
type devicePool struct {
	fairshare.Pool
	accounts sync.Map // weak.Pointer[Account] -> struct{}: those with a share of it
}

// remember notes that a has a share, until a is no longer used.
func (p *devicePool) remember(a *Account) {
	w := weak.Make(a)
	if _, ok := p.accounts.LoadOrStore(w, struct{}{}); !ok {
		runtime.AddCleanup(a, func(w weak.Pointer[Account]) { p.accounts.Delete(w) }, w)
	}
}

// removePool removes the pool of a device that was removed, and the shares of it.
func (ns *Namespace) removePool(ifindex int32) {
	p, ok := ns.pools.LoadAndDelete(ifindex)
	if !ok {
		return
	}
	for w := range p.(*devicePool).accounts.Range {
		if a := w.(weak.Pointer[Account]).Value(); a != nil {
			a.shares.Delete(ifindex)
		}
	}
}

// Budget limits memory that sockets share: of their rings, with the private state of each slot
// or block; of packets in their queues, as SO_RCVBUF counts it; of filters and fanout
// programs; and of other things charged to it. It applies beside the namespace's limit. Memory
// is released when these are. All methods may be called concurrently.
type Budget struct {
	max  atomic.Int64
	held atomic.Int64

	reserve int64        // its share of NamespaceConfig.Reserved
	packets atomic.Int64 // bytes for packets: what is past reserve is taken from the namespace's common memory
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget {
	b := new(Budget)
	b.SetMax(limit)
	return b
}

// NewBudgetWithReserve is NewBudget with a share of [NamespaceConfig].Reserved: that much
// memory for packets is available to the budget's sockets whatever others use. Such a budget
// belongs to one namespace. All its reserves together must not exceed what it has reserved.
func NewBudgetWithReserve(limit, reserve int64) *Budget {
	b := NewBudget(limit)
	b.reserve = reserve
	return b
}

// SetMax changes the limit. Memory held beyond it stays held.
func (b *Budget) SetMax(limit int64) { b.max.Store(limit) }

// Held returns how many bytes are charged.
func (b *Budget) Held() int64 { return b.held.Load() }

// acquire charges n bytes, or reports false if fewer are left. A nil budget has no limit.
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

// addPastReserve adds n bytes for packets, which may be negative, and returns by how much the
// part beyond b's reserve grows.
func (b *Budget) addPastReserve(n int64) int64 {
	if b == nil {
		return n
	}
	held := b.packets.Add(n)
	return max(0, held-b.reserve) - max(0, held-n-b.reserve)
}

// errExhausted explains why acquire(n) failed.
func (b *Budget) errExhausted(n int64) error {
	limit := b.max.Load()
	return explain.Errorf(syscall.ENOMEM, "%d bytes: the memory budget has %d of %d bytes left", n, max(0, limit-b.Held()), limit)
}

// Charge is what one thing is charged to a [Budget]. The zero value is no charge. Its methods
// may not be called concurrently.
type Charge struct {
	budget *Budget
	n      int64
}

// Replace charges n bytes to b in place of the present charge: ENOMEM if fewer are left, and
// then the charge stays. A nil b has no limit.
func (c *Charge) Replace(b *Budget, n int64) error {
	if !b.acquire(n) {
		return b.errExhausted(n)
	}
	c.Release()
	*c = Charge{b, n}
	return nil
}

// Release cancels the charge.
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

// receiveMetered is receiveOne for a socket with an account.
func (s *Socket) receiveMetered(rx *rxOptions, p *Packet, meta *packetMeta) (wake bool) {
	if rx.ignoreOutgoing && p.Outgoing {
		return false
	}
	sh := s.meter.shareOf(s.ns, rx.account, meta.from.Ifindex)
	switch {
	case sh.Exceeded():
		s.throttle(rx.account)
	case s.meter.Due():
		watch := sh.Start()
		wake = s.receiveOne(rx.unrestricted, p, meta)
		s.meter.Sample(watch)
	default:
		wake = s.receiveOne(rx.unrestricted, p, meta)
	}
	return wake
}

// receiveBatchMetered is receiveBatch for a socket with an account whose grant hides nothing.
func (s *Socket) receiveBatchMetered(rx *rxOptions, b *measuredBatch, mask batchMask) {
	sh := s.meter.shareOf(s.ns, rx.account, b.metas[mask.first()].from.Ifindex)
	if !sh.Exceeded() {
		watch := sh.Start()
		s.receiveBatchUnrestricted(rx.unrestricted, b, mask)
		s.meter.Batch(int64(mask.len()), watch)
		return
	}
	for ; mask != 0; mask = mask.rest() {
		p, meta := &b.packets[mask.first()], &b.metas[mask.first()]
		if meta.length != 0 && s.wants(p, meta) && !(rx.ignoreOutgoing && p.Outgoing) {
			s.throttle(rx.account)
		}
	}
}

// deliverMetered is deliver for a group with an account. The choice of a member is measured,
// too.
func (g *group) deliverMetered(of *Account, p *Packet, meta *packetMeta) {
	members := *g.members.Load() // pairs with the stores in linkLocked and unlinkLocked
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

// deliverBatchMetered is deliverBatch for a group with an account whose members' grants hide
// nothing.
func (g *group) deliverBatchMetered(of *Account, members []*Socket, b *measuredBatch) {
	sh := g.meter.shareOf(members[0].ns, of, b.metas[0].from.Ifindex)
	if !sh.Exceeded() {
		watch := sh.Start()
		g.deliverBatchUnmetered(members, b)
		g.meter.Batch(int64(len(b.packets)), watch)
		return
	}
	for i := range b.packets {
		if b.metas[i].length > 0 && g.wants(&b.packets[i], &b.metas[i]) {
			members[0].throttle(of)
		}
	}
}

// throttle counts a packet dropped because the account's sockets used too much time.
func (s *Socket) throttle(of *Account) {
	s.drop(ring.Throttled, 1)
	of.throttled.Add(1)
}

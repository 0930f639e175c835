package rxring

import (
	"sync/atomic"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

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

// take takes n bytes, if there are so many left. A nil budget has no bound.
func (b *Budget) take(n int64) bool {
	if b == nil {
		return true
	}
	if b.held.Add(n) > b.max.Load() {
		b.held.Add(-n)
		return false
	}
	return true
}

func (b *Budget) giveBack(n int64) {
	if b != nil {
		b.held.Add(-n)
	}
}

// beyond returns how much the memory for packets past b's reserve grows when n bytes, which
// may be negative, are added to it.
func (b *Budget) beyond(n int64) int64 {
	if b == nil {
		return n
	}
	held := b.packets.Add(n)
	return max(0, held-b.reserve) - max(0, held-n-b.reserve)
}

// refuse says why take(n) failed.
func (b *Budget) refuse(n int64) error {
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
	if !b.take(n) {
		return b.refuse(n)
	}
	c.Release()
	*c = Charge{b, n}
	return nil
}

// Release gives back what c has taken.
func (c *Charge) Release() {
	c.budget.giveBack(c.n)
	*c = Charge{}
}

// filterCost is what a program of n instructions is charged, in bytes: the program itself
// and what it is compiled to.
func filterCost(n int) int64 { return int64(n) * 64 }

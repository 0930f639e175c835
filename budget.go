package rxring

import (
	"sync/atomic"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// Budget is memory that sockets share: of their rings, and of the packets in their
// queues, in the currency of SO_RCVBUF. It is held besides the namespace's bound,
// and given back when rings and packets go.
type Budget struct {
	max  atomic.Int64
	held atomic.Int64
}

// NewBudget returns a budget of max bytes.
func NewBudget(max int64) *Budget {
	b := new(Budget)
	b.SetMax(max)
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

// refuse says why take(n) failed.
func (b *Budget) refuse(n int64) error {
	return explain.Errorf(syscall.ENOMEM, "%d bytes: the budget has given %d of at most %d bytes", n, b.Held(), b.max.Load())
}

package notify

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rxring/rxring/ring"
)

// Notify is a list of wakers and a flag that is up only while it has any: a
// writer loads the flag after each packet.
//
// The zero value is ready; all methods may be called concurrently.
type Notify struct {
	armed atomic.Bool

	mu     sync.Mutex
	wakers []ring.Waker
}

// Arm subscribes w to the next Wake of n. The caller must then check the ring
// once more, and sleep only if there is still nothing to read.
func (n *Notify) Arm(w ring.Waker) {
	n.mu.Lock()
	if !slices.Contains(n.wakers, w) {
		n.wakers = append(n.wakers, w)
	}
	n.armed.Store(true) // a full barrier; pairs with the load in Wake
	n.mu.Unlock()
}

// Disarm cancels an Arm. A Wake already under way may still arrive.
func (n *Notify) Disarm(w ring.Waker) {
	n.mu.Lock()
	if i := slices.Index(n.wakers, w); i >= 0 {
		n.wakers = slices.Delete(n.wakers, i, i+1)
	}
	n.armed.Store(len(n.wakers) > 0)
	n.mu.Unlock()
}

// Wake wakes all sleepers that are armed: one atomic load when none is. The
// caller has stored a status before it, with a full barrier.
func (n *Notify) Wake() {
	if n.armed.Load() { // pairs with the store in Arm
		n.wake()
	}
}

// FenceAndWake is Wake for a caller that has stored a status without a full barrier after it.
func (n *Notify) FenceAndWake() {
	var own atomic.Uint32 // on the stack: the store is a full barrier, and costs no other writer a line
	own.Store(1)
	n.Wake()
}

func (n *Notify) wake() {
	var few [4]ring.Waker
	n.mu.Lock()
	due := append(few[:0], n.wakers...)
	clear(n.wakers)
	n.wakers = n.wakers[:0]
	n.armed.Store(false)
	n.mu.Unlock()
	for _, w := range due { // outside the lock: Wake may take locks that Arm's callers hold
		w.Wake()
	}
}

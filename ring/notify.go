package ring

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Waker is somebody who sleeps until a ring has news. Wake is called from a
// writer's goroutine, at most once for each Arm: it must not block, and it must
// not allocate if the writers are not to.
type Waker interface{ Wake() }

// Notify wakes sleepers without a system call a packet: a writer looks at one
// flag, and the flag is up only while somebody sleeps.
//
// No wake-up is lost, because each side stores first and looks second: a
// writer stores the slot's status, then loads armed; a sleeper stores armed
// (Arm), then looks at the ring again before it sleeps.
//
// The zero value is ready; all methods may be called concurrently.
type Notify struct {
	armed atomic.Bool

	mu      sync.Mutex
	sleeper []Waker
}

// Arm asks for one Wake after the next Wake of n. After it the caller must look
// at the ring once more, and sleep only if there is still nothing.
func (n *Notify) Arm(w Waker) {
	n.mu.Lock()
	if !slices.Contains(n.sleeper, w) {
		n.sleeper = append(n.sleeper, w)
	}
	n.armed.Store(true) // pairs with the load in Wake
	n.mu.Unlock()
}

// Disarm takes back an Arm. A Wake already under way may still arrive.
func (n *Notify) Disarm(w Waker) {
	n.mu.Lock()
	if i := slices.Index(n.sleeper, w); i >= 0 {
		n.sleeper = slices.Delete(n.sleeper, i, i+1)
	}
	n.armed.Store(len(n.sleeper) > 0)
	n.mu.Unlock()
}

// Wake tells everybody armed that there is news. One atomic load when nobody
// is.
func (n *Notify) Wake() {
	if n.armed.Load() { // pairs with the store in Arm
		n.wake()
	}
}

func (n *Notify) wake() {
	var few [4]Waker
	n.mu.Lock()
	due := append(few[:0], n.sleeper...)
	clear(n.sleeper)
	n.sleeper = n.sleeper[:0]
	n.armed.Store(false)
	n.mu.Unlock()
	for _, w := range due { // outside the lock: Wake may take locks that Arm's callers hold
		w.Wake()
	}
}

package writer

import (
	"sync"
	"sync/atomic"

	"github.com/rxring/rxring/ring"
)

// Counters counts for one socket, over all the rings that it has in its life.
// The zero value is ready; all methods may be called concurrently.
type Counters struct {
	drops   [len(ring.Drops{})]atomic.Uint64 // by Verdict
	dropped atomic.Uint64                    // their sum
	cleared atomic.Uint64                    // dropped, at the last Statistics

	_        [64]byte // filtered changes with every packet not wanted: keep it off the line that Losing reads
	filtered atomic.Uint64
	queued   atomic.Uint64

	mu      sync.Mutex
	ring    Buffer // whose Captured counts now
	retired uint64 // captured by rings before it
	read    uint64 // captured and queued, at the last Statistics
}

// Filtered counts a packet that the filter refused.
func (c *Counters) Filtered() { c.filtered.Add(1) }

// Queued counts a packet that went into the queue of a socket without a ring.
func (c *Counters) Queued() { c.queued.Add(1) }

// Drop counts n packets dropped for reason v.
func (c *Counters) Drop(v ring.Verdict, n uint64) {
	c.drops[v].Add(n)
	c.dropped.Add(n)
}

// Losing is Linux's condition for TP_STATUS_LOSING: there are drops that Statistics
// has not returned yet.
func (c *Counters) Losing() bool { return c.dropped.Load() != c.cleared.Load() }

// Attach makes b the ring whose captures c counts, nil for none. The ring before it
// must be closed: its count is final.
func (c *Counters) Attach(b Buffer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ring != nil {
		c.retired += c.ring.Captured()
	}
	c.ring = b
}

// Moved replaces the ring by b, which continues its count: see [Ring.Move].
func (c *Counters) Moved(b Buffer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring = b
}

func (c *Counters) captured() uint64 {
	n := c.retired + c.queued.Load()
	if c.ring != nil {
		n += c.ring.Captured()
	}
	return n
}

// Statistics is PACKET_STATISTICS: packets (dropped ones included, as in Linux)
// and drops since the last call.
func (c *Counters) Statistics() (packets, drops uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dropped := c.dropped.Load()
	drops = dropped - c.cleared.Load()
	c.cleared.Store(dropped)
	captured := c.captured()
	packets = captured - c.read + drops
	c.read = captured
	return packets, drops
}

// Totals is everything counted so far. Exact when no writer is delivering.
func (c *Counters) Totals() ring.Totals {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := ring.Totals{Filtered: c.filtered.Load(), Captured: c.captured()}
	for v := range t.Drops.All() {
		t.Drops[v] = c.drops[v].Load()
	}
	return t
}

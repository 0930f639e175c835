package fleet

import (
	"container/heap"
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/delivery"
	"github.com/rxring/rxring/source/file/linktype"
)

// maxReorder bounds ReaderConfig.Reorder.
const maxReorder = 10 * time.Second

// maxHeld is how many bytes of packets a merger holds. Beyond it, packets are delivered before
// their time.
const maxHeld = 64 << 20

// merger delivers the packets of several devices in the order of their time stamps. It holds a
// packet for window at most; one that arrives later than that is delivered out of order, and
// counted. Its methods may be called concurrently.
type merger struct {
	window time.Duration
	late   atomic.Uint64 // packets delivered after one with a later stamp
	wake   chan struct{} // receives a value when packets are held

	mu       sync.Mutex
	packets  stampHeap
	arrivals []arrival // of all that are held, and of some that are not any more
	bytes    int
	added    uint64
	newest   int64           // stamp delivered
	last     *delivery.Batch // of the last packet delivered: the only one that may have packets; nil: none
}

// heldPacket is a packet that waits for those with earlier stamps.
type heldPacket struct {
	capfile.Packet
	n     uint64 // among those added: the order of equal stamps
	dev   *rxring.Device
	link  *linktype.Link
	batch *delivery.Batch
}

// arrival is when the packets that arrived within grain of each other must be delivered.
type arrival struct {
	due   time.Time
	stamp int64 // their latest
}

// grain bounds how many arrivals there are, as maxHeld does packets.
const grain = time.Millisecond

func newMerger(window time.Duration) *merger {
	return &merger{window: window, wake: make(chan struct{}, 1), newest: math.MinInt64}
}

// heldOverhead is about how many bytes a held packet needs besides its own.
const heldOverhead = 160

// add holds a copy of p. It is delivered with b, which must be used by the merger only.
func (m *merger) add(b *delivery.Batch, dev *rxring.Device, link *linktype.Link, p *capfile.Packet) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := &heldPacket{*p, m.added, dev, link, b}
	h.Data = append([]byte(nil), p.Data...)
	m.added++
	m.bytes += len(h.Data) + heldOverhead
	heap.Push(&m.packets, h)
	m.arriveLocked(p.Timestamp)
	select {
	case m.wake <- struct{}{}:
	default:
	}
	for m.bytes > maxHeld {
		if err := m.deliverLocked(); err != nil {
			return err
		}
	}
	return nil
}

// arriveLocked notes when a packet of a stamp must be delivered: after window, and grain at most.
func (m *merger) arriveLocked(stamp int64) {
	due := time.Now().Add(m.window)
	if n := len(m.arrivals); n > 0 && !m.arrivals[n-1].due.Before(due) {
		m.arrivals[n-1].stamp = max(m.arrivals[n-1].stamp, stamp)
		return
	}
	m.arrivals = append(m.arrivals, arrival{due.Add(grain), stamp})
}

// deliverLocked adds the packet with the earliest stamp to its batch.
func (m *merger) deliverLocked() error {
	p := heap.Pop(&m.packets).(*heldPacket)
	m.bytes -= len(p.Data) + heldOverhead
	if p.Timestamp < m.newest {
		m.late.Add(1)
	}
	m.newest = max(m.newest, p.Timestamp)
	if m.last != p.batch {
		if err := m.flushLocked(); err != nil {
			return err
		}
		m.last = p.batch
	}
	return p.batch.Add(p.dev, p.link, &p.Packet)
}

func (m *merger) flushLocked() error {
	b := m.last
	if m.last = nil; b == nil {
		return nil
	}
	return b.Flush()
}

// deliverUntil delivers the packets that are due, and those with earlier stamps.
func (m *merger) deliverUntil(now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	until, n := int64(math.MinInt64), 0
	for n < len(m.arrivals) && !m.arrivals[n].due.After(now) {
		until = max(until, m.arrivals[n].stamp)
		n++
	}
	m.arrivals = m.arrivals[n:]
	for len(m.packets) > 0 && m.packets[0].Timestamp <= until {
		if err := m.deliverLocked(); err != nil {
			return err
		}
	}
	return m.flushLocked()
}

// deliverAll delivers what is held, such as before a device goes down.
func (m *merger) deliverAll() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.packets) > 0 {
		if err := m.deliverLocked(); err != nil {
			return err
		}
	}
	m.arrivals = nil
	return m.flushLocked()
}

// run delivers packets in time until ctx ends.
func (m *merger) run(ctx context.Context) {
	tick := min(max(m.window/8, time.Millisecond), 20*time.Millisecond)
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		}
		for m.holds() {
			if delivery.Sleep(ctx, tick) != nil || m.deliverUntil(time.Now()) != nil {
				return
			}
		}
	}
}

func (m *merger) holds() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.packets) > 0
}

// stampHeap is a heap.Interface by stamp.
type stampHeap []*heldPacket

func (h stampHeap) Len() int      { return len(h) }
func (h stampHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *stampHeap) Push(x any)   { *h = append(*h, x.(*heldPacket)) }

func (h stampHeap) Less(i, j int) bool {
	if h[i].Timestamp != h[j].Timestamp {
		return h[i].Timestamp < h[j].Timestamp
	}
	return h[i].n < h[j].n
}

func (h *stampHeap) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return p
}

package dump

import (
	"context"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/ring"
)

// The packets that wait for earlier ones: at most orderPackets, of a part of the ring's bytes.
// A writer that is delayed between reading the clock and acquiring its place in the ring is
// late by few packets.
const (
	orderPackets = 64
	orderPart    = 8
)

// orderSlack is how long packets of a capture in immediate mode wait: a busy machine may hand
// over an earlier one by so much later.
const orderSlack = 5 * time.Millisecond

// orderer returns the packets of several devices in the order of time. Packets stay in the ring
// while they wait. It must not be used concurrently.
type orderer struct {
	h       *capture.Handle
	packets int           // the most that wait
	bytes   int           // the most that their data may have
	hold    time.Duration // the longest that they wait while no packet arrives
	flush   bool          // they wait for rest, and no longer while no packet arrives
	rest    uint64        // packets that the ring will hand over

	waiting []ring.Frame // from first, in the order of time
	first   int
	size    int       // bytes of their data
	until   time.Time // when all that wait are returned if no packet arrives; zero: see deadline
	err     error     // to return once no packet waits
	batch   [32]ring.Frame
	frame   ring.Frame // returned last
}

func newOrderer(h *capture.Handle, c capture.Config) *orderer {
	ringBytes, hold := c.Buffer, c.Retire
	if ringBytes == 0 {
		ringBytes = 4 << 20 // capture.Config's
	}
	if hold == 0 {
		hold = 64 * time.Millisecond // capture.Config's
	}
	o := &orderer{h: h, packets: orderPackets, bytes: ringBytes / orderPart, hold: 2 * hold} // a busy machine hands over the next block late
	if c.Immediate {
		slots := ringBytes / max(h.Snaplen(), 1)
		o.packets, o.hold = min(slots/orderPart, orderPackets), orderSlack
	}
	return o
}

// ready reports whether next returns without waiting.
func (o *orderer) ready() bool { return o.due() || o.h.Ready() }

// due reports whether the earliest packet need not wait.
func (o *orderer) due() bool {
	return o.err != nil || o.pending() > o.packets || o.size > o.bytes
}

// pending returns the number of packets that wait.
func (o *orderer) pending() int { return len(o.waiting) - o.first }

// next returns the next packet, which is valid until the next call, or nil when it has received
// packets that wait for others: see deadline. Its errors are those of [capture.Handle.Next],
// after the packets that were received before.
func (o *orderer) next(ctx context.Context) (*ring.Frame, error) {
	o.frame.Release()
	for !o.due() && (o.pending() == 0 || !o.flush || o.rest > 0 || o.h.Ready()) {
		n, err := o.h.ReadBatch(ctx, o.batch[:])
		o.rest -= min(o.rest, uint64(n))
		for i := range o.batch[:n] {
			o.insert(o.batch[i])
		}
		if o.err = err; !o.flush && !o.ready() {
			return nil, nil
		}
	}
	o.until = time.Time{}
	if o.pending() == 0 {
		err := o.err
		o.err = nil
		return nil, err
	}
	o.frame = o.waiting[o.first]
	o.size -= len(o.frame.Data)
	if o.first++; o.first >= orderPackets {
		o.waiting = o.waiting[:copy(o.waiting, o.waiting[o.first:])]
		o.first = 0
	}
	return &o.frame, nil
}

// deadline returns until when next may wait for a packet; zero: no packet waits for it. Those
// that wait keep parts of the ring from being written.
func (o *orderer) deadline() time.Time {
	if o.pending() > 0 && o.until.IsZero() {
		o.until = time.Now().Add(o.hold)
	}
	return o.until
}

// insert adds a packet after those of the same time.
func (o *orderer) insert(f ring.Frame) {
	o.size += len(f.Data)
	o.waiting = append(o.waiting, f)
	w := o.waiting[o.first:]
	for i := len(w) - 1; i > 0 && earlier(&w[i], &w[i-1]); i-- {
		w[i], w[i-1] = w[i-1], w[i]
	}
}

func earlier(a, b *ring.Frame) bool { return a.UnixNano() < b.UnixNano() }

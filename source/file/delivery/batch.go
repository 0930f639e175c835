package delivery

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/linktype"
)

// MaxBatch is how many packets are delivered at once: sockets acquire slots for as many
// together.
const MaxBatch = 32

// BatchBytes is the size of a batch of ordinary packets. Longer ones are delivered alone, from
// the reader's memory.
const BatchBytes = 64 << 10

// roomEvery is how often Room is called while it returns 0.
const roomEvery = time.Millisecond

// ErrStopped means that the context has ended.
var ErrStopped = errors.New("closed")

// Counts are the numbers of packets delivered so far. They may be read at any time.
type Counts struct {
	Packets, Bytes atomic.Uint64
	Cut            atomic.Uint64 // packets that were truncated when they were captured
	Unseen         atomic.Uint64 // packets delivered while their device had no sockets
}

// Batch collects packets of one device that are delivered together. It must not be used
// concurrently.
type Batch struct {
	Context context.Context
	Counts  *Counts
	Now     bool // packets get the present time

	// Room returns for how many of n packets there is room; nil: for all. While it returns 0,
	// Flush waits. Held is called with the time that it waited; nil: not called.
	Room func(n int) int
	Held func(time.Duration)

	dev     *rxring.Device
	packets [MaxBatch]rxring.Packet
	links   [MaxBatch]rxring.Link
	n       int
	cut     uint64
	bytes   [BatchBytes]byte
	used    int
}

// Add appends p, whose bytes are valid until the next packet is read.
func (b *Batch) Add(dev *rxring.Device, link *linktype.Link, p *capfile.Packet) error {
	if dev != b.dev || b.n == MaxBatch || b.used+len(p.Data) > BatchBytes {
		if err := b.Flush(); err != nil {
			return err
		}
		b.dev = dev
	}
	data := p.Data
	alone := len(data) > BatchBytes
	if !alone {
		data = b.bytes[b.used : b.used+copy(b.bytes[b.used:], data)]
		b.used += len(data)
	}
	ts := max(p.Timestamp, 0)
	if b.Now {
		ts = 0
	}
	shown, whole := link.Decode(data)
	q := &b.packets[b.n]
	*q = rxring.Packet{Data: shown.Data, Len: p.Len - (len(data) - len(shown.Data)), Timestamp: ts, Comment: p.Comment}
	if !whole { // its header is cut off: the device counts a packet without a byte as malformed
		q.Data, q.Len = nil, 0
	} else if shown.HasLink {
		b.links[b.n] = shown.Link
		q.Link = &b.links[b.n]
	}
	q.Outgoing = shown.Outgoing || p.Direction == capfile.Outbound && link.Device != rxring.CAN // whose drivers loop packets back
	b.n++
	if p.Len > len(p.Data) {
		b.cut++
	}
	if alone {
		return b.Flush()
	}
	return nil
}

// Len returns how many packets the batch has.
func (b *Batch) Len() int { return b.n }

// Flush delivers the batch, unless the context has ended: then it returns ErrStopped.
func (b *Batch) Flush() error {
	for ps := b.packets[:b.n]; len(ps) > 0; {
		n, err := b.room(len(ps))
		if err != nil {
			return err
		}
		if !b.dev.HasListeners() {
			b.Counts.Unseen.Add(uint64(n))
		}
		b.dev.DeliverBatch(ps[:n])
		sum := 0
		for i := range ps[:n] {
			sum += len(ps[i].Data)
		}
		b.Counts.Packets.Add(uint64(n))
		b.Counts.Bytes.Add(uint64(sum))
		ps = ps[n:]
	}
	b.Counts.Cut.Add(b.cut)
	b.n, b.used, b.cut = 0, 0, 0
	return nil
}

// room waits until there is room for some of n packets, and returns for how many.
func (b *Batch) room(n int) (int, error) {
	select {
	case <-b.Context.Done():
		return 0, ErrStopped
	default:
	}
	if b.Room == nil {
		return n, nil
	}
	if room := b.Room(n); room > 0 {
		return room, nil
	}
	start := time.Now()
	for {
		if err := Sleep(b.Context, roomEvery); err != nil {
			return 0, err
		}
		if room := b.Room(n); room > 0 {
			if b.Held != nil {
				b.Held(time.Since(start))
			}
			return room, nil
		}
	}
}

// Sleep returns after d, or ErrStopped when ctx ends before.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ErrStopped
	}
}

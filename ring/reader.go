package ring

import (
	"context"
	"os"
	"time"
	"unsafe"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/tpacket"
)

// ErrClosed is the error of [Reader.Wait] for a ring that is closed and empty. It
// is [os.ErrClosed] to [errors.Is].
var ErrClosed = explain.Errorf(os.ErrClosed, "ring is closed")

// Reader reads a ring's packets in place, in order. A ring has one reader, and one
// goroutine at a time may call its methods.
type Reader struct {
	slots  *slotReader // nil: the ring has blocks
	blocks *blockReader

	sleep Sleeper
	ready func() bool // Ready, made once
}

// Sleeper is how a [Reader] waits for writers.
type Sleeper interface {
	// Sleep returns nil once ready returns true. It calls ready whenever the ring
	// may have changed, and must not miss a change after the last call. Otherwise
	// it returns why it stopped waiting.
	Sleep(ctx context.Context, ready func() bool) error

	// SetDeadline makes Sleep, also one that is under way, return
	// [os.ErrDeadlineExceeded] from t on; the zero time means no deadline.
	SetDeadline(t time.Time) error
}

// Waker is what writers wake when a ring may have packets. They call Wake at most once for
// each time that the Waker was armed: it must not block, and must not allocate if the writers
// are not to.
type Waker interface{ Wake() }

// NewReader returns the reader of a ring of g's shape in m, which must hold
// g.Size() bytes. Its writers are in this process or another one, or the kernel.
// The reader trusts nothing that m says.
func NewReader(m Memory, g tpacket.Geometry, s Sleeper) (*Reader, error) {
	rd := &Reader{sleep: s}
	var err error
	if g.Version == tpacket.V3 {
		rd.blocks, err = newBlockReader(m, g)
	} else {
		rd.slots, err = newSlotReader(m, g)
	}
	if err != nil {
		return nil, err
	}
	rd.ready = rd.Ready
	return rd, nil
}

// Next returns the next packet if there is one. Several may be held at once, fewer
// than the ring has slots; each belongs to the writers again after its Release.
func (rd *Reader) Next() (f Frame, ok bool) {
	ok = rd.next(&f)
	return f, ok
}

// NextBatch stores the next packets in frames and returns how many: at most
// len(frames), and at most as many as the ring has slots, each of which holds one
// packet until its Release.
func (rd *Reader) NextBatch(frames []Frame) (n int) {
	if b := rd.blocks; b != nil {
		for n < len(frames) && b.enter(&frames[n]) {
			rd.Advance(&frames[n])
			n++
		}
		return n
	}
	// A slot that was read and not released looks like one with a packet.
	s := rd.slots
	frames = frames[:min(uint64(len(frames)), uint64(s.Geo.FrameNr))]
	for n < len(frames) && s.next(&frames[n]) {
		n++
	}
	return n
}

func (rd *Reader) next(f *Frame) bool {
	if rd.blocks != nil {
		return rd.blocks.enter(f) && rd.Advance(f)
	}
	return rd.slots.next(f)
}

// Advance releases the packet in f, unless f is zero, and stores the next one there.
// It returns false, and f is zero, if there is none. It is cheaper than Release and
// Next, for a caller that holds one packet at a time.
func (rd *Reader) Advance(f *Frame) bool {
	b := rd.blocks
	if b == nil {
		if f.slots != nil {
			f.slots.HandBack(f.slot)
		}
		if !rd.slots.next(f) {
			*f = Frame{}
			return false
		}
		return true
	}
	if b.left == 0 || f.slot != b.block || f.blocks != b {
		f.Release()
		if !b.enter(f) {
			*f = Frame{}
			return false
		}
	}
	// f counts as a frame of the block, and becomes the next one. The memory is shared. What
	// is acted on is loaded once, here, and not again from the copy, which would wait for
	// the copy's stores.
	at := b.at
	p := unsafe.Add(b.Base(), at)
	h := (*headers3)(p)
	next, mac, net, snaplen, length := h.NextOffset, uint32(h.Mac), uint32(h.Net), h.Snaplen, h.Len
	*f.headers() = *h
	f.setData(p, uint32(b.last-at)+uint32(unsafe.Sizeof(headers3{})), mac, net, snaplen)
	f.Len = int(length)
	b.left--
	b.moveTo(at, next)
	if b.left == 0 {
		b.leave()
	}
	return true
}

// Wait sleeps until Next has a packet, ctx ends, or the ring is closed and Next
// has none ([ErrClosed]). It does not wait for a writer that was in mid-copy when
// the ring was closed.
func (rd *Reader) Wait(ctx context.Context) error {
	if rd.Ready() {
		return nil
	}
	return rd.sleep.Sleep(ctx, rd.ready)
}

// SetDeadline makes Wait, also one that is under way, return
// [os.ErrDeadlineExceeded] from t on; the zero time means no deadline. Any goroutine
// may call it.
func (rd *Reader) SetDeadline(t time.Time) error { return rd.sleep.SetDeadline(t) }

// Ready reports whether Next has a packet.
func (rd *Reader) Ready() bool {
	if rd.slots == nil {
		return rd.blocks.ready()
	}
	return rd.slots.ready()
}

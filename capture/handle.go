package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// ErrClosed is returned by reads from a closed Handle.
var ErrClosed = ring.ErrClosed

// Handle reads the packets of one ring. One goroutine at a time may read; any goroutine
// may call Close, SetDeadline and Stats at any time.
type Handle struct {
	reader  *ring.Reader
	socket  socket
	hatype  uint16
	snaplen int
	ifindex int // 0: all devices

	frame ring.Frame // the packet that Next returned last; zero once it is released

	mu    sync.Mutex
	stats Stats
}

// Stats counts packets since the handle was opened.
type Stats struct {
	Packets uint64 // packets that passed the filter, including Drops (tp_packets)
	Drops   uint64 // packets not stored in the ring, or lost before the device (tp_drops)
	Freezes uint64 // how often the ring of blocks was full and frozen (tp_freeze_q_cnt)

	// Reasons divides Drops by reason. The kernel reports no reasons.
	Reasons ring.Drops
}

// Hatype returns the device's hardware type (ARPHRD_ETHER and others), which defines the
// link-layer header of packets that are not cooked. It is 0 for all devices.
func (h *Handle) Hatype() uint16 { return h.hatype }

// Snaplen returns how many bytes of each packet are captured at most: the Config's
// Snaplen, or the default that replaced 0.
func (h *Handle) Snaplen() int { return h.snaplen }

// Next waits for the next packet and returns it. Errors include ErrClosed after Close,
// ctx.Err() and [os.ErrDeadlineExceeded]. The packet is in the ring's memory and valid
// until the next call.
func (h *Handle) Next(ctx context.Context) (*ring.Frame, error) {
	if h.reader.Advance(&h.frame) && h.frame.Written() {
		return &h.frame, nil
	}
	return h.wait(ctx)
}

// wait is Next, once Advance has returned false or a frame that is not written.
func (h *Handle) wait(ctx context.Context) (*ring.Frame, error) {
	for !h.frame.Written() {
		if h.frame.Data != nil {
			return nil, h.memoryError()
		}
		if err := h.reader.Wait(ctx); err != nil {
			return nil, err
		}
		h.reader.Advance(&h.frame)
	}
	return &h.frame, nil
}

// memoryError returns why the ring's memory is no longer available: the handle was
// closed, or the process that owns the memory has ended or taken it back.
func (h *Handle) memoryError() error {
	h.frame = ring.Frame{}
	if s, ok := h.socket.(interface{ memoryError() error }); ok {
		return s.memoryError()
	}
	return ErrClosed
}

// Ready reports whether Next has a packet without waiting.
func (h *Handle) Ready() bool { return h.reader.Ready() }

// ctxCheckInterval is the number of packets after which a loop checks its context even
// though more packets are ready.
const ctxCheckInterval = 64

// Packets iterates over the packets. The loop ends when the handle is closed, or after
// an error, which is passed to its last iteration. A packet is in the ring's memory and
// valid until the next iteration.
func (h *Handle) Packets(ctx context.Context) iter.Seq2[*ring.Frame, error] {
	return func(yield func(*ring.Frame, error) bool) {
		defer h.frame.Release()
		for n := 1; ; n++ {
			if n%ctxCheckInterval == 0 && ctx.Err() != nil {
				yield(nil, ctx.Err())
				return
			}
			if h.reader.Advance(&h.frame) && h.frame.Written() { // as in Next: a call less
				if !yield(&h.frame, nil) {
					return
				}
				continue
			}
			p, err := h.wait(ctx)
			if errors.Is(err, ErrClosed) {
				return
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

// ReadBatch waits for a packet and stores all that are ready in frames, at most
// len(frames). The caller must call Release for each, in any order, from any goroutine, or
// [ring.ReleaseBatch] for several.
func (h *Handle) ReadBatch(ctx context.Context, frames []ring.Frame) (n int, err error) {
	h.frame.Release()
	for len(frames) > 0 {
		if n = h.reader.NextBatch(frames); n > 0 {
			for i := range frames[:n] {
				if frames[i].Written() {
					continue
				}
				if i == 0 {
					return 0, h.memoryError()
				}
				return i, nil
			}
			break
		}
		if err := h.reader.Wait(ctx); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// SetDeadline makes reads, also one in progress, return [os.ErrDeadlineExceeded] instead
// of waiting past t. The zero time means no deadline.
func (h *Handle) SetDeadline(t time.Time) error { return h.reader.SetDeadline(t) }

// SetFilter replaces the filter; nil accepts every packet. The ring may still hold
// packets that the previous filter accepted.
func (h *Handle) SetFilter(prog []cbpf.Instruction) error {
	if prog != nil {
		if _, err := cbpf.Compile(prog); err != nil {
			return err
		}
	}
	return h.socket.setFilter(cbpf.Truncated(prog, h.snaplen))
}

// Join has the device also receive the packets that m describes, until Leave or Close.
// A membership that was joined twice must be left twice.
func (h *Handle) Join(m Membership) error {
	return h.socket.setsockopt(tpacket.OptAddMembership, m.mreq(h.ifindex))
}

// Leave undoes one Join. Without a Join it does nothing or returns an error.
func (h *Handle) Leave(m Membership) error {
	return h.socket.setsockopt(tpacket.OptDropMembership, m.mreq(h.ifindex))
}

// FanoutID returns the ID of the handle's fanout group, also the one that was chosen for
// [rxring.FanoutFlagUniqueID]; 0 if the handle is in no group.
func (h *Handle) FanoutID() (uint16, error) {
	val := make([]byte, 4)
	if err := h.socket.getsockopt(tpacket.OptFanout, val); err != nil {
		return 0, err
	}
	return uint16(binary.NativeEndian.Uint32(val)), nil
}

// Stats returns the counts since the handle was opened. After Close it returns those at
// the time of Close.
func (h *Handle) Stats() (Stats, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, err := h.socket.statistics()
	if err == nil {
		h.stats.Packets += uint64(now.Packets)
		h.stats.Drops += uint64(now.Drops)
		h.stats.Freezes += uint64(now.FreezeQCount)
		h.stats.Reasons = h.socket.drops()
	} else if errors.Is(err, ErrClosed) {
		err = nil
	}
	st := h.stats
	if n := st.Reasons.Sum(); n > st.Drops { // dropped since statistics was called, which the next call includes
		st.Packets += n - st.Drops
		st.Drops = n
	}
	return st, err
}

// Close ends the capture and releases the ring. A read in progress returns ErrClosed.
// Packets that were not released can still be read without a fault, but their bytes may
// be wrong.
func (h *Handle) Close() error {
	h.Stats() // keeps the final counts
	return h.socket.close()
}

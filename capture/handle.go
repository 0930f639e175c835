package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// ErrClosed is what reading from a closed Handle returns.
var ErrClosed = ring.ErrClosed

// Handle reads the packets of one ring. One goroutine at a time may read; Close,
// SetDeadline and Stats may be called at any time by any.
type Handle struct {
	reader  *ring.Reader
	socket  socket
	hatype  uint16
	snaplen int
	ifindex int // 0: all devices

	frame ring.Frame // the last that Next returned; zero: it was given back

	mu    sync.Mutex
	stats Stats
}

// Stats counts packets since the handle was opened.
type Stats struct {
	Packets uint64 // passed the filter: those dropped, too (tp_packets)
	Drops   uint64 // did not get into the ring, or were lost before the device (tp_drops)
	Freezes uint64 // how often the ring of blocks stood still, full (tp_freeze_q_cnt)

	// Reasons are Drops by reason. The kernel tells none.
	Reasons ring.Drops
}

// Hatype is the hardware type of the device, ARPHRD_ETHER and others: what the
// link-layer header is, unless packets are cooked.
func (h *Handle) Hatype() uint16 { return h.hatype }

// Snaplen is how many bytes of each packet are captured at most: Config's Snaplen, or
// what its 0 stood for.
func (h *Handle) Snaplen() int { return h.snaplen }

// Next returns the next packet as soon as there is one; ErrClosed after Close,
// ctx.Err(), or [os.ErrDeadlineExceeded]. The packet lies in the ring: it is good
// until the next call.
func (h *Handle) Next(ctx context.Context) (*ring.Frame, error) {
	for !h.reader.Advance(&h.frame) {
		if err := h.reader.Wait(ctx); err != nil {
			return nil, err
		}
	}
	if !h.frame.Written() {
		return nil, h.vanished()
	}
	return &h.frame, nil
}

// vanished is why the ring's memory is not there any more: Close, or another process
// that had it.
func (h *Handle) vanished() error {
	h.frame = ring.Frame{}
	if s, ok := h.socket.(interface{ vanished() error }); ok {
		return s.vanished()
	}
	return ErrClosed
}

// Ready says whether Next has a packet without waiting.
func (h *Handle) Ready() bool { return h.reader.Ready() }

// giveBack releases what Next returned last.
func (h *Handle) giveBack() { h.frame.Release() }

// askEvery is after how many packets a loop looks whether its context has ended
// though there is more to read.
const askEvery = 64

// Packets goes through the packets until the handle is closed, which ends the
// loop, or there is an error, which is its last turn. A packet lies in the ring:
// it is good until the loop's next turn.
func (h *Handle) Packets(ctx context.Context) iter.Seq2[*ring.Frame, error] {
	return func(yield func(*ring.Frame, error) bool) {
		defer h.giveBack()
		for n := 1; ; n++ {
			if n%askEvery == 0 && ctx.Err() != nil {
				yield(nil, ctx.Err())
				return
			}
			p, err := h.Next(ctx)
			if errors.Is(err, ErrClosed) {
				return
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}

// ReadBatch waits for a packet and takes as many as there are and frames has room
// for. The caller calls Release for each, in whatever order, from any goroutine.
func (h *Handle) ReadBatch(ctx context.Context, frames []ring.Frame) (n int, err error) {
	h.giveBack()
	for len(frames) > 0 {
		if n = h.reader.NextBatch(frames); n > 0 {
			if i := slices.IndexFunc(frames[:n], invalid); i == 0 {
				return 0, h.vanished()
			} else if i > 0 {
				n = i
			}
			break
		}
		if err := h.reader.Wait(ctx); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func invalid(f ring.Frame) bool { return !f.Written() }

// SetDeadline makes reading, also what is under way, return
// [os.ErrDeadlineExceeded] once it would have to wait past t; the zero time: never.
func (h *Handle) SetDeadline(t time.Time) error { return h.reader.SetDeadline(t) }

// SetFilter replaces the filter; nil takes everything. Packets that the one before
// let pass may still be in the ring.
func (h *Handle) SetFilter(prog []cbpf.Instruction) error {
	if prog != nil {
		if _, err := cbpf.Compile(prog); err != nil {
			return err
		}
	}
	return h.socket.setFilter(truncated(prog, h.snaplen))
}

// Join has the device hear what m says, beside what it hears anyway, until Leave or
// Close. Joining twice takes leaving twice.
func (h *Handle) Join(m Membership) error {
	return h.socket.setsockopt(tpacket.OptAddMembership, m.mreq(h.ifindex))
}

// Leave takes a Join back; without one it may do nothing, or return an error.
func (h *Handle) Leave(m Membership) error {
	return h.socket.setsockopt(tpacket.OptDropMembership, m.mreq(h.ifindex))
}

// FanoutID is the number of the handle's fanout group, 0 when it has none: who
// asked for [rxring.FanoutFlagUniqueID] learns it here.
func (h *Handle) FanoutID() (uint16, error) {
	val := make([]byte, 4)
	if err := h.socket.getsockopt(tpacket.OptFanout, val); err != nil {
		return 0, err
	}
	return uint16(binary.NativeEndian.Uint32(val)), nil
}

// Stats is what has become of all packets so far. The last answer stands after
// Close.
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
	if n := st.Reasons.Sum(); n > st.Drops { // some more since, which the next answer has
		st.Packets += n - st.Drops
		st.Drops = n
	}
	return st, err
}

// Close ends the capture and gives the ring back. Who is reading, gets ErrClosed;
// the bytes of packets that somebody still holds are no longer theirs to believe,
// but may be touched.
func (h *Handle) Close() error {
	h.Stats() // the last word
	return h.socket.close()
}

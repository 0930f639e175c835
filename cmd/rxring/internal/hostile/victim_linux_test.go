package hostile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/ring"
)

// seen is what a victim read, and what its socket's statistics say.
type seen struct {
	Phases         [phases]reading
	Last           bool          // it has the last packet
	Disorder       string        // what was wrong with the order of the packets; "": nothing
	Packets, Drops uint64        // its socket's statistics
	Reasons        ring.Drops    // of Drops
	Began          time.Duration // how long attaching, a ring and binding took
}

// reading is one phase's.
type reading struct {
	Read  uint64
	Worst time.Duration // from sending to reading
	Gap   time.Duration // the longest between two packets
}

// settle limits how long the last packet takes to reach a victim.
const settle = 5 * time.Second

// victim attaches to the path in its first argument and reads until the last packet, whose
// number is that of the order "sent".
func victim(o *orders) (any, error) {
	c, err := dial(o.ctx, os.Args[1])
	if err != nil {
		return nil, err
	}
	defer c.Close()
	start := now()
	h, err := capture.OpenAttached(c, deviceName, capture.Config{Immediate: true})
	if err != nil {
		return nil, err
	}
	defer h.Close()
	s := seen{Began: now() - start}
	ready()
	var next, end atomic.Uint64 // the number of the next packet, and of all packets; 0: not known
	go func() {
		n, _ := o.number("sent")
		end.Store(n)
		if next.Load() == n {
			h.SetDeadline(time.Now())
		} else {
			h.SetDeadline(time.Now().Add(settle))
		}
	}()
	if err := s.read(o.ctx, h, &next, &end); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, err
	}
	s.Last = next.Load() == end.Load()
	return &s, s.readStats(h, end.Load())
}

// read reads until the last packet, or the handle's deadline.
func (s *seen) read(ctx context.Context, h *capture.Handle, next, end *atomic.Uint64) error {
	var before time.Duration
	for p, err := range h.Packets(ctx) {
		if err != nil {
			return err
		}
		t, ok := readTrailer(p.Data)
		if !ok {
			continue
		}
		at := now()
		if n := next.Load(); uint64(t.number) < n {
			s.Disorder = fmt.Sprintf("packet %d after %d", t.number, n-1)
		}
		r := &s.Phases[t.phase]
		r.Read++
		r.Worst = max(r.Worst, at-t.sent)
		if before != 0 {
			r.Gap = max(r.Gap, at-before)
		}
		before = at
		next.Store(uint64(t.number) + 1) // pairs with the load after end is stored
		if end.Load() == uint64(t.number)+1 {
			return nil
		}
	}
	return nil
}

// readStats reads the statistics until they count all packets that were sent, or for 250 ms:
// packets lost before the device are counted later.
func (s *seen) readStats(h *capture.Handle, sent uint64) error {
	for range 5 {
		st, err := h.Stats()
		if err != nil {
			return err
		}
		s.Packets, s.Drops, s.Reasons = st.Packets, st.Drops, st.Reasons
		if s.Packets >= sent {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

// dial attaches once the daemon listens and has its device.
func dial(ctx context.Context, at string) (*attach.Client, error) {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		c, err := attach.Dial(ctx, at)
		if err == nil {
			if _, ok := c.Namespace().DeviceByName(deviceName); ok {
				return c, nil
			}
			c.Close()
			err = fmt.Errorf("there is no %s", deviceName)
		}
		if errors.Is(err, syscall.EPROTONOSUPPORT) || time.Now().After(end) || ctx.Err() != nil {
			return nil, err
		}
	}
}

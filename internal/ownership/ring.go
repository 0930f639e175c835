package ownership

import (
	"fmt"
	"sync/atomic"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/internal/writer"
	"github.com/rxring/rxring/ring"
	"github.com/rxring/rxring/tpacket"
)

// Ring is a receive ring of slots of one design. Its methods are those of
// [writer.Ring], with the same rules.
type Ring struct {
	methods
	ticket *writer.Ring // nil: another design than Ticket
	slots  slots.Slots
}

type methods interface {
	writer.Buffer
	Acquire() (slot uint32, v ring.Verdict)
	AcquireBatch(run []uint32) (n int, v ring.Verdict)
	Release(slot, status uint32)
	Free(ahead uint32) bool
}

// New makes a ring of g's shape and of design d in m, which must hold g.Size()
// zeroed bytes. The ring owns m from then on.
func New(m *ringmem.Memory, g tpacket.Geometry, d Design) (*Ring, error) {
	s, err := slots.New(m.Bytes(), g)
	if err != nil {
		return nil, err
	}
	if d == Ticket {
		r, err := writer.New(m, g)
		return &Ring{r, r, s}, err
	}
	o := newOwner(d, g.FrameNr)
	if o == nil {
		return nil, fmt.Errorf("ring: ownership design %v: want one of %v", d, Designs())
	}
	return &Ring{&study{Slots: s, owner: o, memory: m}, nil, s}, nil
}

// Acquire, Release and Frame are called for each packet of a benchmark: those of
// Ticket are called directly.

func (r *Ring) Acquire() (slot uint32, v ring.Verdict) {
	if r.ticket != nil {
		return r.ticket.Acquire()
	}
	return r.methods.Acquire()
}

func (r *Ring) Release(slot, status uint32) {
	if r.ticket != nil {
		r.ticket.Release(slot, status)
		return
	}
	r.methods.Release(slot, status)
}

// Frame is slot's bytes.
func (r *Ring) Frame(slot uint32) []byte { return r.slots.Frame(slot) }

// study is a ring of a design other than Ticket.
type study struct {
	slots.Slots
	owner
	memory *ringmem.Memory
	closed atomic.Bool
}

func (r *study) Acquire() (slot uint32, v ring.Verdict) { return r.acquire(&r.Slots) }

func (r *study) AcquireBatch(run []uint32) (n int, v ring.Verdict) {
	for ; n < len(run); n++ {
		if run[n], v = r.acquire(&r.Slots); v != ring.Acquired {
			break
		}
	}
	if n > 0 {
		v = ring.Acquired
	}
	return n, v
}

func (r *study) Release(slot, status uint32) { r.release(&r.Slots, slot, status) }

func (r *study) Memory() *ringmem.Memory { return r.memory }
func (r *study) Captured() uint64        { return r.taken() }

func (r *study) Close() error {
	r.end()
	r.closed.Store(true)
	return r.memory.Close()
}

func (r *study) Closed() bool { return r.closed.Load() }

func (r *study) Readable() bool { return r.Status(r.previous()) != tpacket.StatusKernel }

func (r *study) Free(ahead uint32) bool { return r.Slots.Free(r.previous()+1, ahead) }

// States is [writer.Ring.States]. A design with a lock holds it for one slot at a
// time.
func (r *study) States(cells []slots.State) (n, head int) {
	filled := r.filled(&r.Slots)
	return slots.Draw(cells, r.Geo.FrameNr, (uint64(r.previous())+1)%uint64(r.Geo.FrameNr), func(slot uint32) slots.State {
		writing := filled(slot) // before the status, as in slots.Slots.States
		switch s := r.Status(slot); {
		case writing && (s == tpacket.StatusKernel || s == StatusKernelOwned):
			return slots.Writing
		case s == tpacket.StatusKernel:
			return slots.Free
		}
		return slots.Reading
	})
}

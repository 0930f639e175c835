package writer

import (
	"sync/atomic"

	"github.com/rxring/rxring/internal/ringmem"
	"github.com/rxring/rxring/internal/slots"
	"github.com/rxring/rxring/tpacket"
)

// Ring is a receive ring of slots: TPACKET_V1 or V2. It mirrors struct
// packet_ring_buffer (net/packet/internal.h).
//
// All methods may be called concurrently. A slot that Acquire returned belongs to
// its caller until Release.
type Ring struct {
	slots.Slots
	ticket ticket
	memory *ringmem.Memory
	closed atomic.Bool
}

// New makes a ring of g's shape in m, which must hold g.Size() zeroed bytes. The
// ring owns m from then on.
func New(m *ringmem.Memory, g tpacket.Geometry) (*Ring, error) {
	s, err := slots.New(m.Bytes(), g)
	if err != nil {
		return nil, err
	}
	r := &Ring{Slots: s, memory: m}
	r.ticket.init(g.FrameNr)
	return r, nil
}

// Memory is the ring's shared memory.
func (r *Ring) Memory() *ringmem.Memory { return r.memory }

// Captured is how many slots writers have acquired. It is final after Close.
func (r *Ring) Captured() uint64 { return r.ticket.taken() }

// Closed reports whether Close was called.
func (r *Ring) Closed() bool { return r.closed.Load() }

// Close ends the ring: no slot can be acquired any more, and the memory is freed.
// Writers in mid-copy finish undisturbed. A second Close does nothing.
func (r *Ring) Close() error {
	r.ticket.close()
	r.closed.Store(true)
	return r.memory.Close()
}

// Readable is packet_poll's rule for EPOLLIN: the slot before head is not
// KERNEL. After a ring was full it is true once more, although the reader has read everything.
func (r *Ring) Readable() bool {
	return r.Status(r.ticket.previous()) != tpacket.StatusKernel
}

// Free reports whether the slot that is ahead slots after head is the writers' by
// its status (__tpacket_has_room). A slower writer may still own it.
func (r *Ring) Free(ahead uint32) bool { return r.Slots.Free(r.ticket.previous()+1, ahead) }

// HandedBack reports whether the reader has handed back a slot.
func (r *Ring) HandedBack() bool {
	switch taken := r.ticket.taken(); {
	case taken == 0:
		return false
	case taken > uint64(r.Geo.FrameNr):
		return true // the first slot was acquired again
	}
	return !r.ticket.filled()(0) && r.Status(0) == tpacket.StatusKernel // ownership first: see States
}

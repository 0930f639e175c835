package attach

import (
	"encoding/binary"
	"sync"
)

// A peer that sleeps is woken through a connection of its own, a socket pair: a
// writer sends it the socket's ID, without waiting. Each call of Arm is worth one
// event at most, so those of a peer that takes them always find room.

// events is our end of a peer's second connection.
type events struct {
	mu sync.Mutex // held for one system call that does not wait
	fd int        // -1: closed
}

func (e *events) tell(o op, socket uint32) {
	var b [eventLen]byte
	binary.NativeEndian.PutUint16(b[:], uint16(o))
	binary.NativeEndian.PutUint32(b[4:], socket)
	e.mu.Lock()
	if e.fd >= 0 {
		tell(e.fd, b[:])
	}
	e.mu.Unlock()
}

func (e *events) close() {
	e.mu.Lock()
	closeFD(e.fd)
	e.fd = -1
	e.mu.Unlock()
}

// waker tells a peer that a socket has news. Writers call Wake.
type waker struct {
	events *events
	id     uint32
}

// Wake implements ring.Waker.
func (w *waker) Wake() { w.events.tell(evWake, w.id) }

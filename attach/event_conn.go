package attach

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/rxring/rxring"
)

// Events, such as wake-ups, reach a peer on a connection of their own, a socket pair. A
// writer sends a wake-up without waiting. A peer asks for at most maxWakes of a socket, so the
// socket buffer of a peer that reads them never fills.

// eventConn is the server's end of a peer's second connection.
type eventConn struct {
	mu sync.Mutex // held for one system call that does not wait
	fd int        // -1: closed
}

func (e *eventConn) send(o op, flags uint16, socket uint32) {
	var b [eventLen]byte
	binary.NativeEndian.PutUint16(b[:], uint16(o))
	binary.NativeEndian.PutUint16(b[2:], flags)
	binary.NativeEndian.PutUint32(b[4:], socket)
	e.mu.Lock()
	if e.fd >= 0 {
		sendEvent(e.fd, b[:])
	}
	e.mu.Unlock()
}

func (e *eventConn) close() {
	e.mu.Lock()
	closeFD(e.fd)
	e.fd = -1
	e.mu.Unlock()
}

// waker sends a peer a wake-up for a socket.
type waker struct {
	events *eventConn
	socket *rxring.Socket
	id     uint32
	left   atomic.Int32 // wake-ups that the peer has asked for and not been sent
}

// Wake implements ring.Waker. Writers call it.
func (w *waker) Wake() {
	if w.left.Add(-1) > 0 { // before it is sent: the peer may arm it again at once
		w.socket.Arm(w) // and this wake-up is for all packets before
	}
	var flags uint16
	if w.socket.HasEventBesideRing() {
		flags = flagMore
	}
	w.events.send(evWake, flags, w.id)
}

package attach

import (
	"io"
	"sync"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// What a peer has the server hold is charged to its user's budget, or is bounded and
// small. A connection that is idle has no buffer. While a request is served it lies in a
// room that requests of all peers use one after the other, and its answer, too; few
// requests of one user are served at a time. An answer that the peer does not read lies in
// the kernel, in memory of ours: so there is one at most.

// room is what a request and its answer lie in.
type room struct {
	in, out [maxMessage]byte
	oob     []byte
}

var rooms = sync.Pool{New: func() any { return &room{oob: make([]byte, oobRoom)} }}

const (
	// maxTurns bounds the requests of one user that are served at a time.
	maxTurns = 16

	// connectionCost is what a connection is charged, in bytes: a goroutine's stack,
	// two sockets, and events that it has not read.
	connectionCost = 16 << 10

	// socketCost is what a packet socket is charged, in bytes, beside its ring, queue
	// and filters.
	socketCost = 4 << 10

	// smallAnswer is the length of an answer, in bytes, up to which it is part of
	// connectionCost.
	smallAnswer = 4 << 10
)

// eventBuffer is the SO_SNDBUF for the events of a peer with n sockets: the kernel doubles
// it, and takes 768 bytes for each event.
func eventBuffer(n int) int { return 512 * (n + 16) }

// begin takes a turn of the user's, and a room.
func (p *peer) begin() {
	p.user.turns <- struct{}{}
	p.room = rooms.Get().(*room)
	p.answer.b = p.room.out[:0]
}

// end gives both back. The request and the answer are gone.
func (p *peer) end() {
	p.closeHanded()
	p.answer.b = nil
	rooms.Put(p.room)
	p.room = nil
	<-p.user.turns
}

// closeHanded closes the descriptor that came with the request, unless it was taken.
func (p *peer) closeHanded() {
	if p.handed >= 0 {
		p.closeApart(p.handed)
		p.handed = -1
	}
}

// next waits for a request, and begins the turn that serves it unless there is an error.
// The descriptor that came with the request is in p.handed.
func (p *peer) next() (m message, err error) {
	var n, oobn, flags, unread int
	err2 := p.raw.Read(func(fd uintptr) bool {
		p.begin()
		if n, oobn, flags, err = receive(int(fd), p.room.in[:], p.room.oob); err == nil {
			unread = unreadBytes(int(fd))
			return true
		}
		p.end()
		return !wouldBlock(err)
	})
	if err2 != nil {
		return m, err2
	}
	if err != nil {
		return m, err
	}
	var fds []int
	if oobn > 0 {
		if fds = takeRights(p.room.oob[:oobn]); len(fds) > 0 {
			p.handed = fds[0]
			p.closeApart(fds[1:]...)
		}
	}
	switch {
	case n == 0:
		err = io.EOF
	case truncated(flags), len(fds) > 1:
		err = fault("%v", errMessage)
	case unread > 0:
		err = fault("a request before the answer to the one before was read, of which %d bytes are left", unread)
	}
	if err != nil {
		p.end()
		return m, err
	}
	p.unread.Release()
	return message{b: p.room.in[:n]}, nil
}

// reserve charges the answer to come, of up to n bytes, to the user's budget until the peer
// has read it.
func (p *peer) reserve(n int) error {
	if n <= smallAnswer {
		return nil
	}
	if err := p.unread.Replace(p.granted().Socket.Budget, int64(n)); err != nil {
		return explain.Errorf(syscall.ENOMEM, "answer of %w", err)
	}
	return nil
}

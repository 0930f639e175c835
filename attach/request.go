package attach

import (
	"io"
	"sync"
	"syscall"

	"github.com/rxring/rxring/internal/explain"
)

// What the server holds for a peer is charged to its user's budget, or small and limited:
//
//   - An idle connection has no buffer. A request and its answer lie in buffers that all
//     peers share, and few requests of one user are served at a time.
//   - An answer that the peer has not read lies in the kernel, in memory that is charged to
//     this process. So there is at most one for each peer.

// buffers hold a request and its answer.
type buffers struct {
	in  [maxMessage]byte
	out []byte // as long as the longest answer so far
	oob []byte
}

var bufferPool = sync.Pool{New: func() any {
	b := new(buffers) // a composite literal would clear in twice
	b.oob = make([]byte, oobLen)
	return b
}}

const (
	// maxRequests limits the requests of one user that are served at a time.
	maxRequests = 16

	// connectionCost is what a connection is charged, in bytes: a goroutine's stack,
	// two sockets, and unread events.
	connectionCost = 16<<10 + 2*512*(maxWakes-1)*manyWakes

	// socketCost is what a packet socket is charged, in bytes, beside its ring, queue
	// and filters.
	socketCost = 4 << 10

	// smallAnswer is the length of an answer, in bytes, up to which connectionCost covers
	// it.
	smallAnswer = 4 << 10
)

// eventBuffer is the SO_SNDBUF, in bytes, for the events of a peer with n sockets. The
// kernel doubles it, and charges 768 bytes for each event.
func eventBuffer(n int) int { return 512 * (n + (maxWakes-1)*manyWakes + 16) }

// acquireBuffers waits until the user has fewer than maxRequests requests, and prepares
// for one.
func (p *peer) acquireBuffers() {
	p.user.requests <- struct{}{}
	p.buffers = bufferPool.Get().(*buffers)
	p.answer.b = p.buffers.out
}

// releaseBuffers undoes acquireBuffers. The request and the answer are invalid then.
func (p *peer) releaseBuffers() {
	p.closePassed()
	p.buffers.out, p.answer.b = p.answer.b[:0], nil
	bufferPool.Put(p.buffers)
	p.buffers = nil
	<-p.user.requests
}

// closePassed closes the descriptor that came with the request, unless it is in use.
func (p *peer) closePassed() {
	if p.passed >= 0 {
		p.closeAsync(p.passed)
		p.passed = -1
	}
}

// next waits for a request. Unless it returns an error, the caller must release the buffers
// that hold the request; a descriptor that came with the request is in p.passed.
func (p *peer) next() (m message, err error) {
	var n, oobn, flags, unread int
	err2 := p.raw.Read(func(fd uintptr) bool {
		p.acquireBuffers()
		if n, oobn, flags, err = receive(int(fd), p.buffers.in[:], p.buffers.oob); err == nil {
			unread = unreadBytes(int(fd))
			return true
		}
		p.releaseBuffers()
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
		if fds = parseRights(p.buffers.oob[:oobn]); len(fds) > 0 {
			p.passed = fds[0]
			p.closeAsync(fds[1:]...)
		}
	}
	switch {
	case n == 0:
		err = io.EOF
	case truncated(flags), len(fds) > 1:
		err = fault("%v", errMessage)
	case unread > 0:
		err = fault("a request before it has read the previous answer, which holds %d bytes of the send buffer", unread)
	}
	if err != nil {
		p.releaseBuffers()
		return m, err
	}
	p.unread.Release()
	return message{b: p.buffers.in[:n]}, nil
}

// reserve charges an answer of up to n bytes to the user's budget until the peer has read
// it.
func (p *peer) reserve(n int) error {
	if n <= smallAnswer {
		return nil
	}
	if err := p.unread.Replace(p.currentGrant().Socket.Budget, int64(n)); err != nil {
		return explain.Errorf(syscall.ENOMEM, "answer of %w", err)
	}
	return nil
}

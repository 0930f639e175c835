package attach

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rxring/rxring"
)

// peer is an attached process. One goroutine reads its requests and answers them, one by
// one; fields without another comment are that goroutine's.
type peer struct {
	Peer
	server  *Server
	ask     func(Peer) (Grant, error) // Config.Grant, or the argument of Server.Connect
	inside  bool                      // it is this process: see Server.Connect
	user    *user
	conn    *conn
	events  eventConn
	raw     syscall.RawConn // conn's
	buffers *buffers        // of the request that is being served; nil: none is
	answer  message
	ended   atomic.Bool
	passed  int    // the descriptor that came with the request; -1: none, or it is in use
	list    []byte // the rest of the list that opDevices or opStatus sends in chunks

	cost, listed, unread rxring.Charge // of the connection, of list, of the unread answer

	mu           sync.Mutex
	grant        Grant
	sockets      map[uint32]*peerSocket
	lastSocket   uint32 // ID
	revoked      error  // the error of Config.Grant that ended the peer; nil: none did
	listedUntil  uint64 // the point in the server's deviceLog of the last list that was sent; 0: none was
	grantChanged bool   // the next list has all devices: the peer sees others now
}

// hello is the first exchange.
func (p *peer) hello() error {
	p.conn.SetDeadline(time.Now().Add(ioTimeout))
	m, err := p.next()
	if err != nil {
		return fault("no hello: %v", connError(err))
	}
	defer p.releaseBuffers()
	p.closePassed()
	o, _, seq := m.head()
	word, v := string(m.take(len(magic))), m.word()
	if o != opHello || m.bad || word != magic {
		return fault("the first message is not hello")
	}
	ours, theirs, err := eventPair(eventBuffer(p.currentGrant().MaxSockets))
	if err != nil {
		p.fail(o, seq, err)
		return fault("%v", err)
	}
	defer closeFD(theirs)
	p.events.fd = ours
	p.raw.Control(func(fd uintptr) { refuseRights(int(fd), false) })
	p.answer.start(opHello, 0, seq)
	p.answer.u32(version)
	if err := p.conn.send(&p.answer, theirs); err != nil {
		return fault("hello: %v", connError(err))
	}
	if v != version {
		return fault("it speaks version %d of the protocol, this server speaks version %d", v, version)
	}
	return p.conn.SetDeadline(time.Time{})
}

// serveOne reads a request and answers it.
func (p *peer) serveOne() error {
	m, err := p.next()
	if err != nil {
		return err
	}
	defer p.releaseBuffers()
	o, id, seq := m.head()
	if m.bad || o <= opHello || o >= opEnd {
		return fault("operation %d: there is none of that number", o)
	}
	p.answer.start(o, 0, seq)
	if cost, mayWait := requestCost(o, m); cost > 0 {
		err = p.callLimited(cost, mayWait, o, id, &m)
	} else {
		err = p.call(o, id, &m)
	}
	p.closePassed()
	switch f := new(faultError); {
	case errors.As(err, &f):
		return err
	case o == opArm:
		return nil
	case err != nil:
		return p.fail(o, seq, err)
	}
	return p.reply()
}

// callLimited is call within the user's processor time.
func (p *peer) callLimited(cost time.Duration, mayWait bool, o op, id uint32, m *message) error {
	l := p.cpuLimit()
	if !l.acquire(p.server.ctx, cost, p.hasHungUp) {
		return os.ErrClosed
	}
	if mayWait {
		l.release()
	} else {
		defer l.release()
	}
	return p.call(o, id, m)
}

// fail answers with an error.
func (p *peer) fail(o op, seq uint32, err error) error {
	p.answer.fail(o, seq, err)
	return p.reply()
}

func (p *peer) reply() error {
	if len(p.answer.b) <= smallAnswer {
		p.unread.Release()
	}
	p.conn.SetWriteDeadline(time.Now().Add(ioTimeout))
	return p.conn.send(&p.answer, -1)
}

// hangUp shuts the connection down. The peer's goroutine closes it.
func (p *peer) hangUp() {
	p.ended.Store(true)
	p.raw.Control(func(fd uintptr) { shutDown(int(fd)) })
}

// hasHungUp reports whether the peer has closed its end of the connection.
func (p *peer) hasHungUp() bool { return hasHungUp(p.conn.UnixConn) }

// closeSockets closes the sockets that the peer has left open.
func (p *peer) closeSockets() {
	p.mu.Lock()
	left := slices.Collect(maps.Values(p.sockets))
	p.mu.Unlock()
	for _, s := range left {
		p.closeSocket(s)
	}
}

// faultError is the error of a peer that breaks the protocol.
type faultError struct{ text string }

func (e *faultError) Error() string { return "attach: peer: " + e.text }

func fault(format string, args ...any) error { return &faultError{fmt.Sprintf(format, args...)} }

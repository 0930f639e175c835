package attach

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
)

// peer is a process that is attached. Its goroutine reads requests and answers
// them, one by one.
type peer struct {
	Peer
	server *Server
	user   *user
	conn   *conn
	events events
	raw    syscall.RawConn // conn's
	room   *room           // of the request that is being served, nil: none is
	answer message
	ended  atomic.Bool
	handed int    // the descriptor that came with the request, -1: none, or it was taken
	list   []byte // what opDevices or opStatus is handing out in pieces

	cost, listed, unread rxring.Charge // for the connection, list, and the last answer

	mu      sync.Mutex
	grant   Grant
	sockets map[uint32]*peerSocket
	last    uint32 // ID
	revoked error  // why it is detached: what Config.Grant returned; nil: it is not
	known   uint64 // a hash of what the devices were like when it was told last, 0: it was not
}

// peerSocket is one of its sockets.
type peerSocket struct {
	*rxring.Socket
	id     uint32
	opened time.Time
	told   bool // SocketOpened
	mapped bool // a ring of it is, its peer says
	lent   *lent
	waker  waker
	cost   rxring.Charge
}

// ownUser is the Grant of a Server that has none.
func ownUser(p Peer) (Grant, error) {
	if p.UID == uint32(os.Geteuid()) || p.UID == 0 {
		return Grant{AllStatus: true}, nil
	}
	return Grant{}, explain.Errorf(syscall.EACCES, "user %d is not user %d, whose namespace this is", p.UID, os.Geteuid())
}

// serve is a connection's life. It closes fd. who has no groups yet.
func (s *Server) serve(fd int, who Peer) {
	f := os.NewFile(uintptr(fd), "connection")
	c, err := unixConn(f)
	if err != nil {
		err = noFile(err)
		tell(fd, refusal(err))
		s.refusals.add(who, err)
	}
	interruptibly(func() { f.Close() })
	if err != nil {
		return
	}
	defer closeAndDiscard(c)
	p := &peer{Peer: who, server: s, events: events{fd: -1}, handed: -1, sockets: make(map[uint32]*peerSocket)}
	if p.raw, err = c.SyscallConn(); err != nil {
		return
	}
	defer context.AfterFunc(s.open, p.hangUp)()
	if p.Groups, err = groupsOf(c); err != nil {
		return
	}
	if err = s.admit(p, c); err != nil {
		c.Write(refusal(err)) // which does not block: it is the first
		s.refusals.add(p.Peer, err)
		return
	}
	defer s.dismiss(p)
	if err := p.hello(); err != nil {
		s.config.Notify(Event{Kind: PeerFaulted, Peer: p.Peer, Err: err})
		return
	}
	s.config.Notify(Event{Kind: PeerAttached, Peer: p.Peer})
	for err == nil && !p.ended.Load() {
		err = p.turn()
	}
	p.closeAll()
	kind := PeerDetached
	if fault := new(faultError); errors.As(err, &fault) {
		kind = PeerFaulted
	} else {
		err = p.whyRevoked() // nil: it has gone, or we close
	}
	s.config.Notify(Event{Kind: kind, Peer: p.Peer, Err: err})
}

// admit makes p one of the server's peers, if it may be.
func (s *Server) admit(p *peer, c *net.UnixConn) error {
	s.mu.Lock()
	s.lastID++
	p.ID = s.lastID
	s.mu.Unlock()
	for {
		s.mu.Lock()
		asked := s.regrants
		s.mu.Unlock()
		g, err := s.config.Grant(p.Peer)
		if err != nil {
			return err
		}
		if again, err := s.enroll(p, c, g, asked); !again {
			return err
		}
	}
}

// enroll takes p in with what it was granted, unless that may be out of date: then
// it is to be asked for again.
func (s *Server) enroll(p *peer, c *net.UnixConn, g Grant, asked uint64) (again bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.regrants != asked {
		return true, nil
	}
	u := s.userLocked(p.UID)
	if u.peers >= maxPeers {
		return false, explain.Errorf(syscall.EAGAIN, "user %d has %d processes attached, the most that may be", p.UID, maxPeers)
	}
	if err := s.unreserved.peers.takeLocked(u); err != nil {
		return false, err
	}
	p.user = u
	g = p.fill(g)
	if err := p.cost.Replace(g.Socket.Budget, connectionCost); err != nil {
		s.unreserved.peers.giveBackLocked(u)
		return false, explain.Errorf(syscall.ENOMEM, "user %d: connection of %w", p.UID, err)
	}
	u.peers++
	p.grant = g
	p.conn = newConn(c)
	s.peers[p.ID] = p
	return false, nil
}

func (s *Server) dismiss(p *peer) {
	p.events.close()
	p.cost.Release()
	p.listed.Release()
	p.unread.Release()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.peers, p.ID)
	p.user.peers--
	s.unreserved.peers.giveBackLocked(p.user)
	p.user.left = time.Now()
}

// fill sets what is 0 in g to what it stands for.
func (p *peer) fill(g Grant) Grant {
	if g.MaxMemory <= 0 {
		g.MaxMemory = DefaultMaxMemory
	}
	if g.MaxSockets <= 0 {
		g.MaxSockets = DefaultMaxSockets
	}
	if g.Socket.Budget == nil {
		p.user.budget.SetMax(g.MaxMemory)
		g.Socket.Budget = p.user.budget
	}
	if g.Socket.Account == nil && !trusts(p.UID) {
		g.Socket.Account = p.user.account
	}
	if g.Socket.Scope == 0 {
		g.Socket.Scope = p.UID + 1 // 0 is this process's own sockets'
	}
	return g
}

func (p *peer) granted() Grant {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.grant
}

// regrant asks for the grant again.
func (p *peer) regrant() {
	g, err := p.server.config.Grant(p.Peer)
	if err != nil {
		p.mu.Lock()
		p.revoked = err
		p.mu.Unlock()
		p.events.tell(evRevoked, 0)
		p.hangUp() // its goroutine does the rest
		return
	}
	g = p.fill(g)
	p.mu.Lock()
	p.grant = g
	for _, k := range p.sockets {
		k.SetGrant(&g.Socket) // what it cannot have any more it has not, whatever this says
	}
	p.mu.Unlock()
	p.lookForDevices()
}

// whyRevoked returns the error with which Config.Grant has taken everything from the peer.
func (p *peer) whyRevoked() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revoked
}

// hello is the first exchange.
func (p *peer) hello() error {
	p.conn.SetDeadline(time.Now().Add(patience))
	m, err := p.next()
	if err != nil {
		return fault("no hello: %v", gone(err))
	}
	defer p.end()
	p.closeHanded()
	o, _, seq := m.head()
	word, v := string(m.take(len(magic))), m.word()
	if o != opHello || m.bad || word != magic {
		return fault("what came is no hello")
	}
	ours, theirs, err := eventPair(eventBuffer(p.granted().MaxSockets))
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
		return fault("hello: %v", gone(err))
	}
	if v != version {
		return fault("it speaks version %d, this is %d", v, version)
	}
	return p.conn.SetDeadline(time.Time{})
}

// hangUp ends the connection, with what the peer has sent and is waiting for. Its goroutine
// closes it.
func (p *peer) hangUp() {
	p.ended.Store(true)
	p.raw.Control(func(fd uintptr) { shutDown(int(fd)) })
}

// turn reads a request and answers it.
func (p *peer) turn() error {
	m, err := p.next()
	if err != nil {
		return err
	}
	defer p.end()
	o, id, seq := m.head()
	if m.bad || o <= opHello || o >= opMost {
		return fault("operation %d: there is none of that number", o)
	}
	p.answer.start(o, 0, seq)
	if cost, waits := costOf(o, m); cost > 0 {
		err = p.callInTurn(cost, waits, o, id, &m)
	} else {
		err = p.call(o, id, &m)
	}
	p.closeHanded()
	switch f := new(faultError); {
	case errors.As(err, &f):
		return err
	case err != nil:
		return p.fail(o, seq, err)
	}
	return p.reply()
}

// callInTurn is call for a costly request, when it is its turn.
func (p *peer) callInTurn(cost time.Duration, waits bool, o op, id uint32, m *message) error {
	w := p.work()
	if !w.begin(p.server.open, cost, p.hungUp) {
		return net.ErrClosed
	}
	if waits {
		w.end()
	} else {
		defer w.end()
	}
	return p.call(o, id, m)
}

// hungUp reports whether nobody waits for an answer any more.
func (p *peer) hungUp() bool { return hungUp(p.conn.UnixConn) }

// fail answers with an error.
func (p *peer) fail(o op, seq uint32, err error) error {
	p.answer.fail(o, seq, err)
	return p.reply()
}

func (p *peer) reply() error {
	if len(p.answer.b) <= smallAnswer {
		p.unread.Release()
	}
	p.conn.SetWriteDeadline(time.Now().Add(patience))
	return p.conn.send(&p.answer, -1)
}

// closeAll closes what the peer has left.
func (p *peer) closeAll() {
	p.mu.Lock()
	left := slices.Collect(maps.Values(p.sockets))
	p.mu.Unlock()
	for _, k := range left {
		p.close(k)
	}
}

// close closes a socket.
func (p *peer) close(k *peerSocket) {
	st := p.socketStatus(k) // where it was bound to
	filter, _, _ := k.GetFilter(st.Filter)
	k.Disarm(&k.waker)
	k.Close()
	k.lend(nil)
	k.cost.Release()
	p.mu.Lock()
	delete(p.sockets, k.id)
	p.mu.Unlock()
	p.uncountSocket()
	if k.told {
		st.count(k.Socket)
		p.server.config.Notify(Event{Kind: SocketClosed, Peer: p.Peer, Socket: &st, Filter: filter})
	}
}

// faultError is of a peer that no client of ours is.
type faultError struct{ text string }

func (e *faultError) Error() string { return "attach: peer: " + e.text }

func fault(format string, args ...any) error { return &faultError{fmt.Sprintf(format, args...)} }

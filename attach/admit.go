package attach

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/rxring/rxring/internal/explain"
)

// serve serves a connection of from, whose groups are not yet known, and closes fd. ask returns
// its grant; inside: see peer.
func (s *Server) serve(fd int, from Peer, ask func(Peer) (Grant, error), inside bool) {
	f := os.NewFile(uintptr(fd), "connection")
	c, err := unixConn(f)
	if err != nil {
		err = noFile(err)
		sendEvent(fd, refusal(err))
		s.refusals.add(from, err)
	}
	interruptibly(func() { f.Close() })
	if err != nil {
		return
	}
	defer closeAndDiscard(c)
	p := &peer{Peer: from, server: s, ask: ask, inside: inside, events: eventConn{fd: -1}, passed: -1, sockets: make(map[uint32]*peerSocket)}
	if p.raw, err = c.SyscallConn(); err != nil {
		return
	}
	defer context.AfterFunc(s.ctx, p.hangUp)()
	if p.Groups, err = peerGroups(c); err != nil {
		return
	}
	if err = s.admit(p, c); err != nil {
		c.Write(refusal(err)) // the first write: it does not block
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
		err = p.serveOne()
	}
	p.closeSockets()
	kind := PeerDetached
	if fault := new(faultError); errors.As(err, &fault) {
		kind = PeerFaulted
	} else {
		err = p.revocation() // nil: the peer has ended, or the server is closed
	}
	s.config.Notify(Event{Kind: kind, Peer: p.Peer, Err: err})
}

// admit asks for p's grant and enrolls p. It asks again if Regrant was called meanwhile.
func (s *Server) admit(p *peer, c *net.UnixConn) error {
	s.mu.Lock()
	s.lastID++
	p.ID = s.lastID
	s.mu.Unlock()
	for {
		s.mu.Lock()
		asked := s.regrants
		s.mu.Unlock()
		g, err := p.ask(p.Peer)
		if err != nil {
			return err
		}
		if again, err := s.enroll(p, c, g, asked); !again {
			return err
		}
	}
}

// enroll adds p with grant g to the server's peers. again: Regrant was called since it had
// been called asked times, and g may be out of date.
func (s *Server) enroll(p *peer, c *net.UnixConn, g Grant, asked uint64) (again bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.regrants != asked {
		return true, nil
	}
	u := s.userLocked(p.UID)
	if u.peers >= maxPeers {
		return false, explain.Errorf(syscall.EAGAIN, "user %d has %d processes attached, the most that are allowed", p.UID, maxPeers)
	}
	if err := s.unreserved.peers.addLocked(u); err != nil {
		return false, err
	}
	p.user = u
	g = p.withDefaults(g)
	if err := p.cost.Replace(g.Socket.Budget, connectionCost); err != nil {
		s.unreserved.peers.removeLocked(u)
		return false, explain.Errorf(syscall.ENOMEM, "user %d: connection of %w", p.UID, err)
	}
	u.peers++
	p.grant = g
	p.conn = newConn(c)
	s.peers[p.ID] = p
	return false, nil
}

// dismiss undoes enroll.
func (s *Server) dismiss(p *peer) {
	p.events.close()
	p.cost.Release()
	p.listed.Release()
	p.unread.Release()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.peers, p.ID)
	p.user.peers--
	s.unreserved.peers.removeLocked(p.user)
	p.user.lastLeft = time.Now()
}

// withDefaults replaces the zero fields of g by their meaning.
func (p *peer) withDefaults(g Grant) Grant {
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
	if g.Socket.Account == nil && !isTrusted(p.UID) {
		g.Socket.Account = p.user.account
	}
	if g.Socket.Scope == 0 {
		g.Socket.Scope = p.UID + 1 // 0 is the scope of this process's own sockets
	}
	return g
}

// regrant asks for p's grant again and applies it, or ends p.
func (p *peer) regrant() {
	g, err := p.ask(p.Peer)
	if err != nil {
		p.mu.Lock()
		p.revoked = err
		p.mu.Unlock()
		p.events.send(evRevoked, 0, 0)
		p.hangUp() // p's goroutine does the rest
		return
	}
	p.setGrant(p.withDefaults(g))
}

func (p *peer) currentGrant() Grant {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.grant
}

// revocation returns the error of Config.Grant that ended p; nil: none did.
func (p *peer) revocation() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revoked
}

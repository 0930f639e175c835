package attach

import (
	"context"
	"io/fs"
	"os"
)

// Connect attaches this process to its own server, so that a part of it reads what a grant
// allows and no more, as any other peer does. The server calls grant in place of Config.Grant,
// in [Server.Regrant] too. The grant is for this connection: give it a Budget and an Account
// to limit it as another user's. [Client.Status] lists the sockets of other connections only with
// AllStatus. The error is an [fs.PathError], as that of [Dial].
func (s *Server) Connect(ctx context.Context, grant func() (Grant, error)) (*Client, error) {
	failed := func(err error) (*Client, error) {
		return nil, &fs.PathError{Op: "attach", Path: s.path, Err: err}
	}
	ours, theirs, err := connectionPair()
	if err != nil {
		return failed(err)
	}
	f := os.NewFile(uintptr(theirs), "connection")
	uc, err := unixConn(f)
	f.Close()
	if err != nil {
		closeFD(ours)
		return failed(err)
	}
	from, err := peerCredentials(ours)
	if err == nil && !s.attend(func() { s.serve(ours, from, func(Peer) (Grant, error) { return grant() }, true) }) {
		err = errServerClosed
	}
	if err != nil {
		closeFD(ours)
		uc.Close()
		return failed(err)
	}
	c := newClient(s.path, s.path)
	if err := c.begin(ctx, uc); err != nil {
		return failed(err)
	}
	c.wg.Go(c.readEvents)
	return c, nil
}

// attend calls f in a goroutine of the server, unless the server is closed.
func (s *Server) attend(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.wg.Go(f)
	return true
}

package attach

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/sockfile"
)

// Server offers a namespace on a unix socket. Its methods may be called concurrently.
type Server struct {
	config   Config
	listener *net.UnixListener
	incoming *os.File // a duplicate of the listener's descriptor, to accept from
	devices  *deviceLog
	path     string
	file     *sockfile.File // the socket's file; nil: this process has not made it

	ctx    context.Context // until Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // the server's goroutines, and one for each connection

	notifiedUntil uint64 // the point in devices of the last notifyOfDevices; poll's

	mu         sync.Mutex
	peers      map[uint64]*peer // by ID
	users      map[uint32]*user // by UID: see userLocked
	unreserved unreserved
	lastID     uint64
	regrants   uint64 // calls of Regrant: a grant that was asked for before the last one is out of date

	refusesRights bool // a new connection receives no descriptors until refuseRights allows them
	connects      connectLimiter
	refusals      refusals
}

// Listen offers c.Namespace on a new unix socket at path, of type SOCK_SEQPACKET, until
// Close. Only this process's user may connect to it (mode 0600), unless c.SocketPerms
// changes that; c.Grant is asked in any case. A socket file that no process listens at any
// more is replaced. As root, Listen refuses directories where other users could replace the
// file. Its error is an [fs.PathError].
func Listen(path string, c Config) (*Server, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	l, file, err := sockfile.Listen("unixpacket", path, c.SocketPerms)
	if err != nil {
		return nil, &fs.PathError{Op: "listen", Path: path, Err: err}
	}
	s := newServer(l, path, c)
	s.file = file
	if err := s.start(); err != nil {
		file.Close()
		l.Close()
		return nil, &fs.PathError{Op: "listen", Path: path, Err: err}
	}
	return s, nil
}

// NewServer is Listen for a socket that is listening already, such as systemd's
// (ListenSequentialPacket=). The Server takes the listener over, and leaves its file in
// place. EPROTOTYPE: it is not of type SOCK_SEQPACKET.
func NewServer(l *net.UnixListener, c Config) (*Server, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	if l.Addr().Network() != "unixpacket" {
		return nil, explain.Errorf(syscall.EPROTOTYPE, "attach: a listener of network %s: want unixpacket (SOCK_SEQPACKET, systemd's ListenSequentialPacket)", l.Addr().Network())
	}
	l.SetUnlinkOnClose(false)
	s := newServer(l, l.Addr().String(), c)
	if err := s.start(); err != nil {
		return nil, &fs.PathError{Op: "listen", Path: s.path, Err: err}
	}
	return s, nil
}

func newServer(l *net.UnixListener, path string, c Config) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	return &Server{
		config:     c,
		listener:   l,
		devices:    newDeviceLog(c.Namespace),
		path:       path,
		ctx:        ctx,
		cancel:     cancel,
		peers:      make(map[uint64]*peer),
		users:      make(map[uint32]*user),
		unreserved: newUnreserved(maxFiles()),
		connects:   connectLimiter{make(map[uint32]*tokenBucket)},
		refusals:   refusals{byUser: make(map[uint32]*Event), added: make(chan struct{}, 1)},
	}
}

func (s *Server) start() (err error) {
	if s.incoming, err = s.listener.File(); err != nil {
		return err
	}
	raw, err := s.incoming.SyscallConn()
	if err != nil {
		s.incoming.Close()
		return err
	}
	s.refuseRights(raw)
	s.wg.Go(func() { s.accept(raw) })
	s.wg.Go(s.poll)
	s.wg.Go(s.reportRefusals)
	return nil
}

// pollInterval is how often poll runs.
const pollInterval = 250 * time.Millisecond

// poll notifies peers of changes to their devices, and the owner of users whose packets
// were dropped (ring.Throttled). Changes to sockets are notified at once, elsewhere.
func (s *Server) poll() {
	t := time.NewTicker(pollInterval)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
		}
		s.notifyOfDevices()
		for _, e := range s.throttledUsers(time.Now()) {
			s.config.Notify(e)
		}
	}
}

func (s *Server) listPeers() []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	ps := make([]*peer, 0, len(s.peers))
	for _, p := range s.peers {
		ps = append(ps, p)
	}
	return ps
}

// Addr returns the socket's path.
func (s *Server) Addr() string { return s.path }

// Regrant calls Config.Grant for each peer again, and applies the result to open sockets,
// too. A peer whose grant is an error is detached.
func (s *Server) Regrant() {
	s.mu.Lock()
	s.regrants++
	s.mu.Unlock()
	for _, p := range s.listPeers() {
		p.regrant()
	}
}

// SetSocketPerms calls f to change the mode, owner or group of the socket's file, as
// Config.SocketPerms does. ESTALE: another file has taken the socket's place. EPERM: the
// socket is NewServer's.
func (s *Server) SetSocketPerms(f func(file string) error) error {
	if s.file == nil {
		return explain.Errorf(syscall.EPERM, "attach: %s: this process received the socket as it was listening: its maker sets its mode and owner", s.path)
	}
	return s.file.Permit(f)
}

// errServerClosed is the error of a second Close.
var errServerClosed = explain.Errorf(os.ErrClosed, "attach: the server is closed")

// Close detaches all peers and removes the socket's file. A second call returns an error
// that wraps [os.ErrClosed].
func (s *Server) Close() error {
	if s.ctx.Err() != nil {
		return errServerClosed
	}
	s.mu.Lock()
	s.cancel() // from here on Connect fails
	s.mu.Unlock()
	var err error
	if s.file != nil {
		err = s.file.Close() // before the listener: no other process can bind the path yet
	}
	last := duplicate(s.incoming) // its close also closes the connections that were not accepted
	err = errors.Join(err, s.incoming.Close(), s.listener.Close())
	s.wg.Wait()
	discard(last)
	return err
}

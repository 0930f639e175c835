package attach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/internal/explain"
	"github.com/rxring/rxring/internal/sockfile"
)

// Server offers a namespace at a unix socket.
type Server struct {
	config   Config
	listener *net.UnixListener
	incoming *os.File // the listener's, to accept from
	path     string
	file     *sockfile.File // the socket's; nil: it is not ours

	open  context.Context // until Close
	close func()
	all   sync.WaitGroup // accept, watch, and a goroutine for each peer

	mu         sync.Mutex
	peers      map[uint64]*peer // by ID
	users      map[uint32]*user // by UID, those that have peers or had some lately
	unreserved unreserved
	lastID     uint64

	regrants uint64 // how often Regrant was called: who came meanwhile is asked for again

	refuses  bool // connections hold no descriptors until refuseRights says otherwise
	door     door
	refusals refusals
}

// Listen offers c.Namespace at path, a new unix socket of type SOCK_SEQPACKET that
// only this process's user may connect to (mode 0600; Config.Permit has it otherwise, and
// Grant decides, too), until Close. A socket that an ended process left there is replaced.
// As root, it refuses directories where other users could replace the socket.
func Listen(path string, c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	l, file, err := sockfile.Listen("unixpacket", path, c.Permit)
	if err != nil {
		return nil, fmt.Errorf("attach: listen at %s: %w", path, err)
	}
	s := newServer(l, path, c)
	s.file = file
	if err := s.start(); err != nil {
		file.Close()
		l.Close()
		return nil, fmt.Errorf("attach: listen at %s: %w", path, err)
	}
	return s, nil
}

// NewServer is Listen at a socket that is listening already, as from systemd
// (ListenSequentialPacket=). It becomes the Server's; its file is not removed.
func NewServer(l *net.UnixListener, c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if l.Addr().Network() != "unixpacket" {
		return nil, explain.Errorf(syscall.EPROTOTYPE, "attach: a listener of network %s: want unixpacket (SOCK_SEQPACKET, systemd's ListenSequentialPacket)", l.Addr().Network())
	}
	l.SetUnlinkOnClose(false)
	s := newServer(l, l.Addr().String(), c)
	if err := s.start(); err != nil {
		return nil, fmt.Errorf("attach: listen at %s: %w", s.path, err)
	}
	return s, nil
}

func (c *Config) check() error {
	if c.Namespace == nil {
		return explain.Errorf(syscall.EINVAL, "attach: Config: want a Namespace")
	}
	if c.Grant == nil {
		c.Grant = ownUser
	}
	if c.Reserve == nil {
		c.Reserve = func(uint32) int64 { return 0 }
	}
	if c.Notify == nil {
		c.Notify = func(Event) {}
	}
	if c.Describe == nil {
		c.Describe = func(*rxring.Device) (d Description) { return d }
	}
	return nil
}

func newServer(l *net.UnixListener, path string, c Config) *Server {
	open, close := context.WithCancel(context.Background())
	return &Server{
		config:     c,
		listener:   l,
		path:       path,
		open:       open,
		close:      close,
		peers:      make(map[uint64]*peer),
		users:      make(map[uint32]*user),
		unreserved: newUnreserved(maxFiles()),
		door:       door{make(map[uint32]*bucket)},
		refusals:   refusals{byUser: make(map[uint32]*Event), news: make(chan struct{}, 1)},
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
	s.all.Go(func() { s.accept(raw) })
	s.all.Go(s.watch)
	s.all.Go(s.reportRefusals)
	return nil
}

// lookEvery is how often peers' devices are compared with the namespace's.
const lookEvery = 250 * time.Millisecond

// watch tells peers when their devices are others. What happens to sockets they
// hear at once.
func (s *Server) watch() {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-s.open.Done():
			return
		case <-t.C:
		}
		for _, p := range s.list() {
			p.lookForDevices()
		}
		for _, e := range s.throttled(time.Now()) {
			s.config.Notify(e)
		}
	}
}

func (s *Server) list() []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	ps := make([]*peer, 0, len(s.peers))
	for _, p := range s.peers {
		ps = append(ps, p)
	}
	return ps
}

// Addr is the socket's path.
func (s *Server) Addr() string { return s.path }

// Regrant asks Config.Grant for each peer anew: what is granted no longer is taken
// away, from sockets that are open, too, and the others go on undisturbed.
func (s *Server) Regrant() {
	s.mu.Lock()
	s.regrants++
	s.mu.Unlock()
	for _, p := range s.list() {
		p.regrant()
	}
}

// Permit has permit change the mode, owner or group of the socket's file, as Config.Permit
// does. It changes nothing if another file has taken the socket's place.
func (s *Server) Permit(permit func(file string) error) error {
	if s.file == nil {
		return explain.Errorf(syscall.EPERM, "attach: %s: it was listening when this process got it: whoever made it sets its mode and owner", s.path)
	}
	return s.file.Permit(permit)
}

// Close detaches all peers and removes the socket.
func (s *Server) Close() error {
	if s.open.Err() != nil {
		return net.ErrClosed
	}
	s.close()
	var err error
	if s.file != nil {
		err = s.file.Close() // while we listen: no other process has bound it
	}
	last := duplicate(s.incoming) // with it the connections that were not accepted are closed
	err = errors.Join(err, s.incoming.Close(), s.listener.Close())
	s.all.Wait()
	discard(last)
	return err
}

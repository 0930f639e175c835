package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/source/file/capfile"
)

// Config configures a server. The zero value serves all devices to clients on this machine.
type Config struct {
	// Public allows a listener whose address is not a loopback one or a unix socket's:
	// everyone who can connect receives the packets, unencrypted. Also at a loopback address
	// all users of the machine can connect.
	Public bool

	Devices func(*rxring.Device) bool // nil: all are served

	// Compile compiles [Request].Filter for packets of a link type. It may be called
	// concurrently. The expression is a client's text of up to 64 KiB: a compiler in C, such
	// as libpcap, must be one that may be exposed to it. nil: such requests are refused.
	Compile func(expression string, link capfile.LinkType) ([]cbpf.Instruction, error)

	MaxClients int // at a time; 0: 16
	Buffer     int // size in bytes of each ring, one for each client and device; 0: 4 MiB

	// Memory limits the rings of all clients together, in bytes; 0: half of the namespace's
	// limit, so that its other readers have the rest. A client whose rings it cannot hold is
	// refused; a device that is added later waits until there is memory for it.
	Memory int64

	// Stall is how long a client may take to receive anything before it is disconnected; 0: a
	// minute.
	Stall time.Duration

	// Extras are sent to every client before the packets that follow them, such as those of a
	// [github.com/rxring/rxring/source/file/pipe.Stream] that feeds the namespace.
	Extras []*capfile.Extras

	Logger *slog.Logger // of clients, with what they have lost; nil: no log
}

const (
	defaultClients = 16
	defaultBuffer  = 4 << 20
	defaultStall   = time.Minute
)

func (c *Config) check(l net.Listener) error {
	if !c.Public && !local(l.Addr()) {
		return fmt.Errorf("stream: listener at %v: want a loopback address or a unix socket, or Public: everyone who can connect receives the packets, unencrypted", l.Addr())
	}
	if c.MaxClients < 0 || c.Buffer < 0 || c.Memory < 0 || c.Stall < 0 {
		return fmt.Errorf("stream: MaxClients %d, Buffer %d, Memory %d, Stall %v: want no negative values", c.MaxClients, c.Buffer, c.Memory, c.Stall)
	}
	if c.MaxClients == 0 {
		c.MaxClients = defaultClients
	}
	if c.Buffer == 0 {
		c.Buffer = defaultBuffer
	}
	if c.Stall == 0 {
		c.Stall = defaultStall
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func local(a net.Addr) bool {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

// Server sends packets to clients. Its methods may be called concurrently.
type Server struct {
	l     net.Listener
	ns    *rxring.Namespace
	cfg   Config
	ctx   context.Context // until Close
	rings *rxring.Budget  // of all clients
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu      sync.Mutex
	clients int
}

// Serve serves the devices of ns to clients of l, which it closes, until Close.
func Serve(l net.Listener, ns *rxring.Namespace, c Config) (*Server, error) {
	if err := c.check(l); err != nil {
		return nil, err
	}
	if c.Memory == 0 {
		c.Memory = ns.MaxMemory() / 2
	}
	s := &Server{l: l, ns: ns, cfg: c, rings: rxring.NewBudget(c.Memory)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.wg.Go(s.accept)
	return s, nil
}

// Close disconnects the clients and returns once none is served any more.
func (s *Server) Close() error {
	s.stop()
	err := s.l.Close()
	s.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Clients returns how many clients are connected.
func (s *Server) Clients() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients
}

// acceptRetry is the time after which accepting is tried again, for example when this process
// had no descriptor left.
const acceptRetry = 100 * time.Millisecond

func (s *Server) accept() {
	for {
		conn, err := s.l.Accept()
		if s.ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return
		}
		if err != nil {
			s.cfg.Logger.Warn("stream: no client can be accepted", "err", err)
			select {
			case <-time.After(acceptRetry):
			case <-s.ctx.Done():
			}
			continue
		}
		s.wg.Go(func() { s.serve(conn) })
	}
}

// admit counts a client, unless there are too many.
func (s *Server) admit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients == s.cfg.MaxClients {
		return false
	}
	s.clients++
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients--
}

// serve serves one client.
func (s *Server) serve(conn net.Conn) {
	log := s.cfg.Logger.With("client", conn.RemoteAddr().String())
	c := newSession(s, conn)
	defer c.close()
	if !s.admit() {
		log.Warn("stream: client refused", "clients", s.cfg.MaxClients)
		c.refuse(refusef("there are %d clients already: try again later", s.cfg.MaxClients))
		return
	}
	defer s.leave()
	log.Info("stream: client connected")
	err := c.run()
	if refused := (errRequest{}); errors.As(err, &refused) {
		c.refuse(refused)
	}
	log.Info("stream: client left", "packets", c.packets.Load(), "dropped", c.dropped.Load(), "err", err)
}

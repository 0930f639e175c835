package page

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/httplimit"
	"github.com/rxring/rxring/cmd/rxring/internal/top"
	"github.com/rxring/rxring/internal/sockfile"
)

// Config configures a Server. All fields but Certificate and Fleet are required.
type Config struct {
	Address     Address
	Certificate *tls.Certificate // nil: no TLS

	// Connect attaches the page to its namespace: see [attach.Server.Connect].
	Connect func(context.Context) (*attach.Client, error)

	// Budget limits the memory of all pages: that of their rings, if the grant has it, too.
	Budget *rxring.Budget

	// Fleet returns the hosts and sessions of a fleet, which the overview shows, too. nil:
	// there is no fleet.
	Fleet func() (top.Source, error)

	Commands Commands
	Log      *slog.Logger
	Print    func(url string) // prints the URL of the page, and a new one each time that one was used
}

// Commands is the option of rxring run and rxring dump by which they show the same as the page,
// such as --at /run/rxring.sock.
type Commands struct {
	Option string `json:"option"`
	Value  string `json:"value"`
}

// Server serves the page. Close ends it.
type Server struct {
	config   Config
	leaf     *x509.Certificate // of Config.Certificate
	sessions *sessions
	conn     *connection
	overview *overview
	streams  *streams
	takes    chan struct{} // has an element for each download

	http   *http.Server
	addr   string // as "127.0.0.1:8080", or a socket's path
	file   *sockfile.File
	ctx    context.Context // until Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Limits of the HTTP server.
const (
	maxConns       = 64
	maxStreams     = 16 // pages at a time
	maxTakes       = 4  // downloads at a time
	requestTimeout = 5 * time.Second
	maxHeader      = 16 << 10 // bytes
)

// New starts a Server.
func New(c Config) (*Server, error) {
	s := &Server{config: c, conn: &connection{connect: c.Connect}, takes: make(chan struct{}, maxTakes)}
	if c.Certificate != nil {
		var err error
		if s.leaf, err = x509.ParseCertificate(c.Certificate.Certificate[0]); err != nil {
			return nil, err
		}
	}
	l, err := s.listen()
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.overview = newOverview(s)
	s.streams = newStreams()
	s.sessions = newSessions(func(token string) { c.Print(s.url(token)) })
	limit := &httplimit.Conns{Max: maxConns}
	s.http = &http.Server{
		Handler: s.guard(s.routes()), ConnState: limit.Note, ConnContext: withUser,
		BaseContext: func(net.Listener) context.Context { return s.ctx },
		ReadTimeout: requestTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug), // of clients' mistakes
	}
	s.wg.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			c.Log.Error("the page is no longer served", "err", err)
		}
	})
	return s, nil
}

func (s *Server) listen() (net.Listener, error) {
	a := s.config.Address
	if a.Network == "unix" {
		l, file, err := sockfile.Listen("unix", a.Path, nil)
		if err != nil {
			return nil, fmt.Errorf("unix:%s: %w", a.Path, err)
		}
		s.addr, s.file = a.Path, file
		return l, nil
	}
	l, err := net.Listen("tcp", a.listenAddress())
	if err != nil {
		return nil, err
	}
	s.addr = l.Addr().String()
	if s.config.Certificate != nil {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*s.config.Certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	}
	return l, nil
}

// url returns the URL of the page. A browser reaches a unix socket through a forwarded port,
// whose number is not known here.
func (s *Server) url(token string) string {
	u := url.URL{Scheme: "http", Host: s.addr, Path: "/", RawQuery: url.Values{"token": {token}}.Encode()}
	if s.config.Certificate != nil {
		u.Scheme = "https"
	}
	if s.file != nil {
		u.Host = "localhost:PORT"
	}
	return u.String()
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /static/", staticFiles())
	mux.HandleFunc("GET /{$}", serveDocument("overview.html"))
	mux.HandleFunc("GET /packets", serveDocument("packets.html"))
	mux.HandleFunc("GET /commands", s.serveCommands)
	mux.HandleFunc("GET /overview/events", s.serveOverview)
	mux.HandleFunc("GET /packets/events", s.servePackets)
	mux.HandleFunc("POST /packets/{stream}/pause", s.servePause)
	mux.HandleFunc("GET /packets/{stream}/{number}", s.serveDetail)
	mux.HandleFunc("GET /packets/{stream}/kept", s.serveKept)
	mux.HandleFunc("GET /take", s.serveTake)
	return mux
}

// Close ends the server, its pages and downloads.
func (s *Server) Close() error {
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close() // ends requests that are in progress
	}
	s.wg.Wait()
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
	}
	return err
}

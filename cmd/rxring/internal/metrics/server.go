package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rxring/rxring/cmd/rxring/internal/httplimit"
	"github.com/rxring/rxring/internal/sockfile"
)

// Server serves GET /metrics.
type Server struct {
	http *http.Server
	done chan struct{}
	addr string
	file *sockfile.File // of a unix socket, or nil
}

const (
	// requestTimeout limits how long a request and its answer may take.
	requestTimeout = 10 * time.Second
	// maxHeader limits a request's header, in bytes.
	maxHeader = 16 << 10
	// maxConns limits the connections, which any local process may open.
	maxConns = 16
	// answerTime is more than a client takes to read an answer.
	answerTime = time.Second
)

// Serve serves the metrics of c, of Go, and of this process.
func Serve(at Address, c prometheus.Collector, log *slog.Logger) (*Server, error) {
	l, file, err := listen(at)
	if err != nil {
		return nil, fmt.Errorf("metrics at %v: %w", at, err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)}))
	var handler http.Handler = mux
	if at.Network == "tcp" {
		handler = loopbackOnly(mux)
	}
	limit := &httplimit.Conns{Max: maxConns, AnswerTime: answerTime}
	s := &Server{
		http: &http.Server{
			ConnState: limit.Note,
			Handler:   handler, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: maxHeader,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		},
		done: make(chan struct{}),
		addr: l.Addr().String(),
		file: file,
	}
	if file != nil { // it was bound to another name
		s.addr = at.String()
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are no longer served", "err", err)
		}
	}()
	return s, nil
}

// Addr returns where the metrics are, as ParseAddress accepts it.
func (s *Server) Addr() string { return s.addr }

// listen listens at an address. A unix socket has mode 0600 and replaces a socket
// file that no process listens at any more.
func listen(at Address) (net.Listener, *sockfile.File, error) {
	if at.Network != "unix" {
		l, err := net.Listen(at.Network, at.Address)
		return l, nil, err
	}
	return sockfile.Listen(at.Network, at.Address, nil)
}

// Close ends the server and waits for its goroutines.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close() // ends requests that are in progress
	}
	<-s.done
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
	}
	return err
}

// loopbackOnly refuses requests whose Host is not a loopback name or address.
func loopbackOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !httplimit.IsLoopback(r.Host) {
			http.Error(w, "host "+strconv.Quote(r.Host)+": want localhost or a loopback address such as 127.0.0.1", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rxring/rxring/internal/sockfile"
)

// exporter serves GET /metrics.
type exporter struct {
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
)

func newExporter(at Metrics, m *meter, log *slog.Logger) (*exporter, error) {
	l, file, err := listenMetrics(at)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)}))
	var handler http.Handler = mux
	if at.Network == "tcp" {
		handler = loopbackOnly(mux)
	}
	e := &exporter{
		http: &http.Server{
			ConnState: new(connLimit).note,
			Handler:   handler, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: maxHeader,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		},
		done: make(chan struct{}),
		addr: l.Addr().String(),
		file: file,
	}
	if file != nil { // it was bound to another name
		e.addr = "unix:" + at.Address
	}
	go func() {
		defer close(e.done)
		if err := e.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are no longer served", "err", err)
		}
	}()
	return e, nil
}

// listenMetrics listens for the exporter. A unix socket has mode 0600 and replaces a socket
// file that no process listens at any more.
func listenMetrics(at Metrics) (net.Listener, *sockfile.File, error) {
	if at.Network != "unix" {
		l, err := net.Listen(at.Network, at.Address)
		return l, nil, err
	}
	l, file, err := sockfile.Listen(at.Network, at.Address, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("listen = \"unix:%s\": %w", at.Address, err)
	}
	return l, file, nil
}

// close ends the server and waits for its goroutines.
func (e *exporter) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := e.http.Shutdown(ctx)
	if err != nil {
		err = e.http.Close() // ends requests that are in progress
	}
	<-e.done
	if e.file != nil {
		err = errors.Join(err, e.file.Close())
	}
	return err
}

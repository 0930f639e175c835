package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// exporter answers GET /metrics.
type exporter struct {
	http *http.Server
	done chan struct{}
	addr net.Addr
}

const (
	// patience is how long somebody who asks for metrics may take.
	patience = 10 * time.Second
	// maxHeader is far more than Prometheus sends.
	maxHeader = 16 << 10
)

func newExporter(at Metrics, m *meter, log *slog.Logger) (*exporter, error) {
	l, err := listenMetrics(at)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)}))
	e := &exporter{
		http: &http.Server{
			Handler: mux, ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: time.Minute, MaxHeaderBytes: maxHeader,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		},
		done: make(chan struct{}),
		addr: l.Addr(),
	}
	go func() {
		defer close(e.done)
		if err := e.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are no longer served", "err", err)
		}
	}()
	return e, nil
}

// listenMetrics listens; on a unix socket for this user alone. A socket that a dead
// process left there is replaced.
func listenMetrics(at Metrics) (net.Listener, error) {
	if at.Network != "unix" {
		return net.Listen(at.Network, at.Address)
	}
	if fi, err := os.Lstat(at.Address); err == nil && fi.Mode()&os.ModeSocket != 0 {
		c, err := net.DialTimeout("unix", at.Address, patience)
		if err == nil {
			c.Close()
			return nil, fmt.Errorf("listen = \"unix:%s\": another process listens there already: end it, or choose another path", at.Address)
		}
		os.Remove(at.Address)
	}
	l, err := net.Listen("unix", at.Address)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(at.Address, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// close ends it, and returns when no goroutine is left.
func (e *exporter) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := e.http.Shutdown(ctx)
	if err != nil {
		err = e.http.Close() // who still asks is cut off
	}
	<-e.done
	return err
}

package metrics

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// nothing has no metrics.
type nothing struct{}

func (nothing) Describe(ch chan<- *prometheus.Desc) {
	ch <- prometheus.NewDesc("rxring_nothing", "", nil, nil)
}
func (nothing) Collect(chan<- prometheus.Metric) {}

func metricsServer(t *testing.T) *Server {
	t.Helper()
	e, err := Serve(Address{"tcp", "127.0.0.1:0"}, nothing{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func TestMetricsAreForThisMachinesNames(t *testing.T) {
	e := metricsServer(t)
	_, port, _ := net.SplitHostPort(e.Addr())
	for host, want := range map[string]int{
		"127.0.0.1:" + port:    http.StatusOK,
		"localhost":            http.StatusOK,
		"LocalHost":            http.StatusOK,
		"localhost:" + port:    http.StatusOK,
		"[::1]:" + port:        http.StatusOK,
		"[::1]":                http.StatusOK,
		"127.1.2.3":            http.StatusOK,
		"evil.example:" + port: http.StatusForbidden,
		"evil.example":         http.StatusForbidden,
		"127.0.0.1.example":    http.StatusForbidden,
		"192.0.2.1:" + port:    http.StatusForbidden,
		"localhost.":           http.StatusForbidden,
	} {
		c, err := net.Dial("tcp", e.Addr())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET /metrics HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != want || want == http.StatusForbidden && !strings.Contains(string(body), "want localhost or a loopback address such as 127.0.0.1") {
			t.Errorf("%s: %s, %s", host, resp.Status, body)
		}
		c.Close()
	}
}

// Idle connections keep no client from the metrics, and no more than 16 stay open.
func TestIdleConnectionsAreClosed(t *testing.T) {
	e := metricsServer(t)
	var conns []net.Conn
	for range 3 * maxConns {
		c, err := net.Dial("tcp", e.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + e.Addr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	closed := 0
	for _, c := range conns[:2*maxConns] { // the oldest: as many as are too many
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := c.Read(make([]byte, 1)); err == io.EOF || strings.Contains(fmt.Sprint(err), "reset") {
			closed++
		}
	}
	if closed != 2*maxConns {
		t.Errorf("%d of %d connections were closed", closed, 2*maxConns)
	}
}

// The log has the path of the metrics' socket, not the name by which it was bound.
func TestTheMetricsSocketIsNamed(t *testing.T) {
	path := t.TempDir() + "/m.sock"
	e, err := Serve(Address{"unix", path}, nothing{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if e.Addr() != "unix:"+path {
		t.Error(e.Addr())
	}
}

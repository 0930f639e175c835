package page_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/page"
)

// scene is a namespace with a page, and a browser that has logged in.
type scene struct {
	t      *testing.T
	ns     *rxring.Namespace
	attach *attach.Server
	page   *page.Server
	base   string // the page's URL, without a path
	client *http.Client

	commands page.Commands  // the page's
	budget   *rxring.Budget // the pages'
	taken    rxring.Charge  // of budget

	mu    sync.Mutex
	urls  []string // that were printed
	grant func() (attach.Grant, error)
}

// newScene makes devices wg0 and secret0. grant is the page's.
func newScene(t *testing.T, grant attach.Grant) *scene {
	t.Helper()
	s := &scene{t: t, ns: rxring.NewNamespace(rxring.NamespaceConfig{})}
	for _, name := range []string{"wg0", "secret0"} {
		if _, err := s.ns.AddDevice(rxring.DeviceConfig{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	s.serve(page.Address{Network: "tcp", Host: "127.0.0.1"}, grant)
	s.client = s.login()
	return s
}

func (s *scene) serve(at page.Address, grant attach.Grant) {
	s.t.Helper()
	path := s.t.TempDir() + "/s"
	s.budget, s.commands = rxring.NewBudget(attach.DefaultMaxMemory), page.Commands{Option: "--at", Value: path}
	s.setGrant(func() (attach.Grant, error) { return grant, nil })
	var err error
	if s.attach, err = attach.Listen(path, attach.Config{Namespace: s.ns}); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.attach.Close() })
	s.page, err = page.New(page.Config{
		Address: at, Budget: s.budget, Log: slog.New(slog.DiscardHandler),
		Connect: func(ctx context.Context) (*attach.Client, error) {
			return s.attach.Connect(ctx, func() (attach.Grant, error) {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.grant()
			})
		},
		Commands: s.commands,
		Print: func(u string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.urls = append(s.urls, u)
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.page.Close() })
	if u, err := url.Parse(s.lastURL()); err == nil { // that of a unix socket has PORT in place of a number
		s.base = u.Scheme + "://" + u.Host
	}
}

// setGrant replaces the page's grant from the next Connect or Regrant on.
func (s *scene) setGrant(grant func() (attach.Grant, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grant = grant
}

// lastURL returns the last URL that was printed.
func (s *scene) lastURL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.urls[len(s.urls)-1]
}

func (s *scene) login() *http.Client {
	s.t.Helper()
	jar, _ := cookiejar.New(nil)
	c := &http.Client{Jar: jar}
	resp, err := c.Get(s.lastURL())
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		s.t.Fatal(resp.Status)
	}
	return c
}

// get returns the body of an answer with status 200.
func (s *scene) get(path string) string {
	s.t.Helper()
	resp, err := s.client.Get(s.base + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s, %v: %s", path, resp.Status, err, body)
	}
	return string(body)
}

func (s *scene) device(name string) *rxring.Device {
	s.t.Helper()
	d, ok := s.ns.DeviceByName(name)
	if !ok {
		s.t.Fatal(name)
	}
	return d
}

// stream is a stream of events.
type stream struct {
	t     *testing.T
	lines *bufio.Scanner
	raw   strings.Builder // all that was received
	close func()
}

func (s *scene) stream(path string) *stream {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	resp, err := s.client.Do(req)
	if err != nil {
		cancel()
		s.t.Fatal(err)
	}
	e := &stream{t: s.t, lines: bufio.NewScanner(resp.Body), close: func() { cancel(); resp.Body.Close() }}
	e.lines.Buffer(nil, 8<<20)
	s.t.Cleanup(e.close)
	return e
}

// next returns the next event, ok false at the end.
func (e *stream) next() (name, data string, ok bool) {
	for e.lines.Scan() {
		line := e.lines.Text()
		e.raw.WriteString(line + "\n")
		if text, is := strings.CutPrefix(line, "event: "); is {
			name = text
		} else if text, is := strings.CutPrefix(line, "data: "); is {
			data = text
		} else if line == "" {
			return name, data, true
		}
	}
	return "", "", false
}

// await decodes the next event of a name into v.
func (e *stream) await(name string, v any) {
	e.t.Helper()
	for {
		got, data, ok := e.next()
		if !ok {
			e.t.Fatalf("the stream ended before an event %s: %v\n%s", name, e.lines.Err(), e.raw.String())
		}
		if got == name {
			if err := json.Unmarshal([]byte(data), v); err != nil {
				e.t.Fatalf("%s: %v", data, err)
			}
			return
		}
	}
}

type row struct {
	N                        uint64
	L                        int
	From, To, Protocol, Info string
}

// rows returns the next n rows, and the last counts.
func (e *stream) rows(n int) (all []row) {
	e.t.Helper()
	for len(all) < n {
		var some []row
		e.await("rows", &some)
		all = append(all, some...)
	}
	return all
}

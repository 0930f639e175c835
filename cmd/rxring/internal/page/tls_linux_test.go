package page_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/page"
)

// With a certificate, the page answers by IP addresses and by the certificate's names.
func TestTLS(t *testing.T) {
	other := httptest.NewTLSServer(nil) // whose certificate is for example.com
	certificate, client := other.TLS.Certificates[0], other.Client()
	other.Close()
	printed := make(chan string, 10)
	s, err := page.New(page.Config{
		Address: page.Address{Network: "tcp", Host: "127.0.0.1"}, Certificate: &certificate, Budget: rxring.NewBudget(1 << 20), Log: slog.New(slog.DiscardHandler),
		Connect: func(context.Context) (*attach.Client, error) { return nil, io.EOF },
		Print:   func(url string) { printed <- url },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	first := <-printed
	if !strings.HasPrefix(first, "https://127.0.0.1:") {
		t.Error(first)
	}
	resp, err := client.Get(first)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	cookie := resp.Header.Get("Set-Cookie")
	if resp.StatusCode != http.StatusOK || !strings.Contains(cookie, "; HttpOnly; Secure; SameSite=Strict") || resp.TLS.Version < tls.VersionTLS12 {
		t.Errorf("%s, cookie %q", resp.Status, cookie)
	}
	u, _ := url.Parse(first)
	u.RawQuery = ""
	for host, want := range map[string]int{
		u.Host: http.StatusOK, "example.com:443": http.StatusOK, "192.0.2.1": http.StatusOK,
		"evil.example": http.StatusForbidden, "example.org": http.StatusForbidden,
	} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, u.String(), nil)
		req.Host = host
		name, _, _ := strings.Cut(cookie, ";")
		req.Header.Set("Cookie", name)
		req.Header.Set("Origin", "https://"+host)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", host, resp.Status, want)
		}
	}
	if resp, err := http.Get(strings.Replace(u.String(), "https", "http", 1)); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("it answers in clear text")
		}
	}
}

package page_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/page"
	"github.com/rxring/rxring/internal/need"
)

func TestRequestsAreRefused(t *testing.T) {
	s := newScene(t, attach.Grant{})
	u, _ := url.Parse(s.base)
	for _, story := range []struct {
		name   string
		change func(*http.Request)
		client *http.Client
		want   string // in the refusal; "": it is answered
	}{
		{"own", nil, s.client, ""},
		{"own origin", func(r *http.Request) { r.Header.Set("Origin", s.base) }, s.client, ""},
		{"localhost", func(r *http.Request) { r.Host = "localhost:" + u.Port() }, s.client, ""},
		{"link of another site", func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			r.Header.Set("Sec-Fetch-Mode", "navigate")
		}, s.client, ""},
		{"no cookie", nil, http.DefaultClient, "open the last one in its output"},
		{"wrong cookie", func(r *http.Request) { r.Header.Set("Cookie", "rxring-AAAAAAAA=x") }, http.DefaultClient, "open the last one"},
		{"wrong token", func(r *http.Request) { r.URL.RawQuery = "token=AAAA" }, http.DefaultClient, "the token is wrong"},
		{"used token", func(r *http.Request) { v, _ := url.Parse(s.urls[0]); r.URL.RawQuery = v.RawQuery }, http.DefaultClient, "or was used before"},
		{"foreign host", func(r *http.Request) { r.Host = "evil.example:" + u.Port() }, s.client, `host "evil.example:` + u.Port() + `": want localhost`},
		{"address of another machine", func(r *http.Request) { r.Host = "192.0.2.1" }, s.client, "want localhost"},
		{"foreign origin", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, s.client, `origin "http://evil.example": want`},
		{"null origin", func(r *http.Request) { r.Header.Set("Origin", "null") }, s.client, `origin "null"`},
		{"another port of this host", func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:1") }, s.client, "another site"},
		{"fetch of another site", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, s.client, "from another site"},
	} {
		for _, path := range []string{"/", "/packets", "/overview/events", "/packets/events?device=wg0", "/packets/x/0", "/packets/x/kept", "/take?device=wg0&packets=1", "/commands", "/static/page.css"} {
			if story.want == "" && path != "/" || strings.Contains(story.name, "token") && path != "/" {
				continue
			}
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+path, nil)
			if story.client != http.DefaultClient { // whatever the host is
				for _, c := range s.client.Jar.Cookies(u) {
					req.AddCookie(c)
				}
			}
			if story.change != nil {
				story.change(req)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
			resp.Body.Close()
			want := http.StatusOK
			if story.want != "" {
				want = http.StatusForbidden
			}
			if resp.StatusCode != want || !strings.Contains(string(body), story.want) {
				t.Errorf("%s: %s: %s, %.200s; want %q", story.name, path, resp.Status, body, story.want)
			}
			if csp := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; script-src 'self';") || strings.Contains(csp, "unsafe") {
				t.Errorf("%s: policy %q", story.name, csp)
			}
		}
	}
}

// A token is valid once. The cookie of each is valid from then on.
func TestTokensAreValidOnce(t *testing.T) {
	s := newScene(t, attach.Grant{})
	first := s.client
	for range 40 { // more than there may be sessions
		s.client = s.login()
		s.get("/")
	}
	if len(s.urls) != 42 {
		t.Errorf("%d URLs were printed, want one for each login and a next one", len(s.urls))
	}
	resp, err := first.Get(s.base)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("the oldest of 41 sessions: %s", resp.Status)
	}
	cookies := func() string {
		resp, err := http.Get(s.lastURL())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.Header.Get("Set-Cookie")
	}()
	if !strings.Contains(cookies, "; HttpOnly; SameSite=Strict") {
		t.Error(cookies)
	}
}

// hello is set in a process that requests the page at a unix socket.
const hello = "RXRING_PAGE_HELLO"

func TestMain(m *testing.M) {
	if path := os.Getenv(hello); path != "" {
		c := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
		resp, err := c.Get(os.Args[1])
		if err != nil {
			os.Stdout.WriteString(err.Error())
			return
		}
		os.Stdout.WriteString(resp.Status + "\n")
		io.Copy(os.Stdout, resp.Body)
		return
	}
	os.Exit(m.Run())
}

// The page at a unix socket is for this user and root, whatever the file's mode is.
func TestOtherUsersAreRefused(t *testing.T) {
	need.Root(t, "start a process of another user")
	dir, err := os.MkdirTemp("", "rxring-page")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o755)
	path := dir + "/p"
	s := &scene{t: t, ns: rxring.NewNamespace(rxring.NamespaceConfig{})}
	s.serve(page.Address{Network: "unix", Path: path}, attach.Grant{})
	if !strings.HasPrefix(s.lastURL(), "http://localhost:PORT/?token=") {
		t.Error(s.lastURL())
	}
	program := dir + "/test" // which another user may execute
	data, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(program, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	ask := func(uid uint32) string {
		cmd := exec.Command(program, strings.Replace(s.lastURL(), ":PORT", "", 1))
		cmd.Env, cmd.Dir = []string{hello + "=" + path}, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	const other = 61234
	if got := ask(other); !strings.Contains(got, "permission denied") {
		t.Errorf("mode 0600: %s", got)
	}
	os.Chmod(path, 0o666)
	if got := ask(other); !strings.HasPrefix(got, "403") || !strings.Contains(got, "user 61234 is not user 0, whose page this is") {
		t.Errorf("mode 0666: %s", got)
	}
	if got := ask(0); !strings.HasPrefix(got, "200") {
		t.Errorf("own user: %s", got)
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:8080": "", "localhost:0": "", "[::1]:80": "", "unix:/run/p": "",
		"192.0.2.1:80": "other machines could read packets", ":8080": "other machines could read", "0.0.0.0:80": "other machines",
		"example.org:80": "is no IP address", "8080": "want a loopback address and port", "127.0.0.1:x": "port \"x\": want 1 to 65535", "unix:p": "want a path that starts at /",
	} {
		if _, err := page.ParseAddress(text, false); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{"192.0.2.1:80", ":8080", "[::]:443"} {
		if _, err := page.ParseAddress(text, true); err != nil {
			t.Errorf("with a certificate: %v", err)
		}
	}
	if _, err := page.ParseAddress("unix:/run/p", true); err == nil || !strings.Contains(err.Error(), "a unix socket has no TLS") {
		t.Error(err)
	}
	if _, err := page.LoadCertificate("", "k"); err == nil || !strings.Contains(err.Error(), "--http-key k: want its certificate, too: --http-cert FILE") {
		t.Error(err)
	}
	if _, err := page.LoadCertificate("c", ""); err == nil || !strings.Contains(err.Error(), "--http-cert c: want its key, too") {
		t.Error(err)
	}
	if _, err := page.LoadCertificate("/dev/null", "/dev/null"); err == nil || !strings.Contains(err.Error(), "want PEM files") {
		t.Error(err)
	}
}

// A request that is refused ends its connection, before the body that it announced.
func TestRefusedRequestsDoNotWaitForABody(t *testing.T) {
	s := newScene(t, attach.Grant{})
	u, _ := url.Parse(s.base)
	var all []net.Conn
	for range 64 {
		c, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /packets/x/pause HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000\r\n\r\n", u.Host)
		all = append(all, c)
	}
	for _, c := range all {
		c.SetReadDeadline(time.Now().Add(4 * time.Second)) // sooner than the server's limit for a request
		data, err := io.ReadAll(c)
		if err != nil || !bytes.HasPrefix(data, []byte("HTTP/1.1 403")) {
			t.Fatalf("%.40s, %v", data, err)
		}
	}
}

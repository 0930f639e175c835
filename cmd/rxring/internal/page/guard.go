package page

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/rxring/rxring/cmd/rxring/internal/httplimit"
)

// headers are in every response. The policy forbids scripts, styles and connections that are
// not this server's own files, and everything inline.
var headers = map[string]string{
	"Content-Security-Policy":      "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cache-Control":                "no-store",
}

// guard answers requests that may be answered by h, and refuses all others.
func (s *Server) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range headers {
			w.Header().Set(name, value)
		}
		if err := s.checkOrigin(r); err != nil {
			refuse(w, err.Error())
			return
		}
		if token := r.URL.Query().Get("token"); token != "" && r.URL.Path == "/" && r.Method == http.MethodGet {
			s.login(w, r, token)
			return
		}
		if !s.sessions.valid(r) {
			refuse(w, "this page needs the URL with a token that rxring has printed: open the last one in its output, which is valid once")
			return
		}
		h.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, why string) {
	w.Header().Set("Connection", "close")
	http.NewResponseController(w).SetReadDeadline(time.Now()) // do not wait for the rest of its body
	http.Error(w, why, http.StatusForbidden)
}

// login exchanges a token for a cookie. The answer is a document that opens the page, and no
// redirection: a browser that follows a link of another site sends no SameSite=Strict cookie
// where that redirects to.
func (s *Server) login(w http.ResponseWriter, r *http.Request, token string) {
	c := s.sessions.exchange(token, r.TLS != nil)
	if c == nil {
		if s.sessions.valid(r) { // the URL was opened again, by a browser that has the cookie
			serveLogin(w, r)
			return
		}
		refuse(w, "the token is wrong, or was used before: open the last URL that rxring has printed")
		return
	}
	http.SetCookie(w, c)
	serveLogin(w, r)
}

// checkOrigin returns an error for requests that another site may have caused, and for those of
// other users at a unix socket.
func (s *Server) checkOrigin(r *http.Request) error {
	if err := checkUser(r); err != nil {
		return err
	}
	if !s.isOwnHost(r) {
		return fmt.Errorf("host %q: want %s", r.Host, s.wantHost())
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != scheme+r.Host {
		return fmt.Errorf("origin %q: want %q: another site may not use this page", origin, scheme+r.Host)
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); {
	case site == "", site == "same-origin", site == "none":
	case r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.URL.Path == "/": // a link
	default:
		return fmt.Errorf("a request from another site (Sec-Fetch-Site: %.20q): open the URL that rxring has printed", site)
	}
	return nil
}

// isOwnHost reports whether a request's Host is one that only this server has: an IP address, or a
// name of its certificate. Other names may have been made to resolve to its address.
func (s *Server) isOwnHost(r *http.Request) bool {
	switch name := httplimit.Hostname(r.Host); {
	case httplimit.IsLoopback(r.Host):
		return true
	case s.leaf == nil || s.config.Address.Network == "unix":
		return false
	default:
		return net.ParseIP(name) != nil || s.leaf.VerifyHostname(name) == nil
	}
}

func (s *Server) wantHost() string {
	if s.leaf == nil {
		return "localhost or a loopback address such as 127.0.0.1"
	}
	return "an IP address, or a name of the certificate"
}

// userKey is the key of the UID of a connection's other end in a request's context.
type userKey struct{}

// withUser adds the UID of the other end of a unix socket.
func withUser(ctx context.Context, c net.Conn) context.Context {
	if u, ok := c.(*net.UnixConn); ok {
		uid, err := peerUID(u)
		if err != nil {
			uid = noUser
		}
		return context.WithValue(ctx, userKey{}, uid)
	}
	return ctx
}

// noUser is no user's UID.
const noUser = 1<<32 - 1

// checkUser returns an error for a request through a unix socket unless it is of root or this
// process's user.
func checkUser(r *http.Request) error {
	uid, ok := r.Context().Value(userKey{}).(uint32)
	if own := uint32(os.Geteuid()); ok && uid != own && uid != 0 {
		return fmt.Errorf("user %d is not user %d, whose page this is", uid, own)
	}
	return nil
}

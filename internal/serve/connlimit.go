package serve

import (
	"net"
	"net/http"
	"slices"
	"sync"
)

// maxMetricsConns bounds the connections to the metrics, which any process of the machine
// may make. One more takes the place of the one that has been without a request for longest.
const maxMetricsConns = 16

// connLimit bounds the connections of an HTTP server. Its note is a [http.Server]'s
// ConnState.
type connLimit struct {
	mu   sync.Mutex
	open int
	idle []net.Conn // without a request, the oldest first
}

func (l *connLimit) note(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = slices.DeleteFunc(l.idle, func(o net.Conn) bool { return o == c })
	switch state {
	case http.StateNew:
		if l.open++; l.open > maxMetricsConns {
			if len(l.idle) == 0 { // all are being answered
				c.Close()
				return
			}
			l.idle[0].Close() // the server notes that
			l.idle = l.idle[1:]
		}
		l.idle = append(l.idle, c)
	case http.StateIdle:
		l.idle = append(l.idle, c)
	case http.StateClosed, http.StateHijacked:
		l.open--
	}
}

// loopbackOnly refuses requests for other names than this machine's own: a web page could
// otherwise have a browser here read the metrics, by a name of its own that is resolved to a
// loopback address.
func loopbackOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(trimBrackets(host)); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "host "+quote(r.Host)+": want localhost or a loopback address such as 127.0.0.1", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// trimBrackets is [::1] without the brackets.
func trimBrackets(host string) string {
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return host
}

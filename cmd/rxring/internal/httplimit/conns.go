package metrics

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxConns limits the connections to the metrics, which any local process may open.
// One more replaces the one that has been without a complete request for the longest time,
// or else one that has not read its answer for answerTime.
const maxConns = 16

// answerTime is more than a client takes to read an answer.
const answerTime = time.Second

// connLimit limits the connections of an HTTP server: its note is the [http.Server]'s
// ConnState.
type connLimit struct {
	mu   sync.Mutex
	open int
	idle []net.Conn // without a complete request, the oldest first
	busy []answered // being answered, the oldest first
}

type answered struct {
	net.Conn
	since time.Time
}

func (l *connLimit) note(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = slices.DeleteFunc(l.idle, func(o net.Conn) bool { return o == c })
	l.busy = slices.DeleteFunc(l.busy, func(o answered) bool { return o.Conn == c })
	switch state {
	case http.StateNew:
		if l.open++; l.open > maxConns && !l.evictLocked(time.Now()) {
			c.Close()
			return
		}
		l.idle = append(l.idle, c)
	case http.StateActive:
		l.busy = append(l.busy, answered{c, time.Now()})
	case http.StateIdle:
		l.idle = append(l.idle, c)
	case http.StateClosed, http.StateHijacked:
		l.open--
	}
}

// evictLocked closes a connection to make room, and returns false if none may be closed. The
// server calls note for it later.
func (l *connLimit) evictLocked(now time.Time) bool {
	switch {
	case len(l.idle) > 0:
		l.idle[0].Close()
		l.idle = l.idle[1:]
	case len(l.busy) > 0 && now.Sub(l.busy[0].since) > answerTime:
		l.busy[0].Close()
		l.busy = l.busy[1:]
	default:
		return false
	}
	return true
}

// loopbackOnly refuses requests whose Host is not a loopback name or address. Otherwise a web
// page could read the metrics through a local browser, by a name that resolves to a loopback
// address (DNS rebinding).
func loopbackOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(trimBrackets(host)); !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "host "+strconv.Quote(r.Host)+": want localhost or a loopback address such as 127.0.0.1", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// trimBrackets removes the brackets of [::1].
func trimBrackets(host string) string {
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return host
}

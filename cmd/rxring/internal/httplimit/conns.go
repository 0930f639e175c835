// Package httplimit limits an HTTP server that any local process, or any machine, may connect
// to: its connections, and the names by which it answers.
package httplimit

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Conns limits the connections of an HTTP server: its Note is the [http.Server]'s ConnState.
// One more than Max replaces the one that has been without a complete request for the longest
// time, or else one that has not read its answer for AnswerTime.
type Conns struct {
	Max        int
	AnswerTime time.Duration // 0: an answer may take any time

	mu   sync.Mutex
	open int
	idle []net.Conn // without a complete request, the oldest first
	busy []answered // being answered, the oldest first
}

type answered struct {
	net.Conn
	since time.Time
}

// Note is an [http.Server]'s ConnState.
func (l *Conns) Note(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = slices.DeleteFunc(l.idle, func(o net.Conn) bool { return o == c })
	l.busy = slices.DeleteFunc(l.busy, func(o answered) bool { return o.Conn == c })
	switch state {
	case http.StateNew:
		if l.open++; l.open > l.Max && !l.evictLocked(time.Now()) {
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
func (l *Conns) evictLocked(now time.Time) bool {
	switch {
	case len(l.idle) > 0:
		l.idle[0].Close()
		l.idle = l.idle[1:]
	case l.AnswerTime > 0 && len(l.busy) > 0 && now.Sub(l.busy[0].since) > l.AnswerTime:
		l.busy[0].Close()
		l.busy = l.busy[1:]
	default:
		return false
	}
	return true
}

// IsLoopback reports whether the Host of a request is a loopback name or address, with or
// without a port. A server on a loopback address refuses others: a web page could reach it
// through a local browser, by a name that resolves to a loopback address (DNS rebinding).
func IsLoopback(host string) bool {
	name := Hostname(host)
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}

// Hostname returns the name or address of a request's Host, without port and brackets.
func Hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return host
}

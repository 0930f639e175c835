package serve

import (
	"cmp"
	"slices"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
)

// grantOfBoth is what a peer gets of now, or, while next is not nil, what both grant.
func grantOfBoth(now, next *Config, p attach.Peer) (attach.Grant, error) {
	g, err := now.Grant(p)
	if err != nil || next == nil {
		return g, err
	}
	n, err := next.Grant(p)
	if err != nil {
		return attach.Grant{}, err
	}
	if a, b := now.rule(p), next.rule(p); a == b || a != nil && b != nil && a.equal(b) {
		return n, nil
	}
	return both(g, n), nil
}

// both grants what a and b both do. What it does not know of is b's.
func both(a, b attach.Grant) attach.Grant {
	g := b
	g.MaxMemory = min(cmp.Or(a.MaxMemory, attach.DefaultMaxMemory), cmp.Or(b.MaxMemory, attach.DefaultMaxMemory))
	g.MaxSockets = min(cmp.Or(a.MaxSockets, attach.DefaultMaxSockets), cmp.Or(b.MaxSockets, attach.DefaultMaxSockets))
	g.AllStatus = a.AllStatus && b.AllStatus
	g.Socket.NoSend = a.Socket.NoSend || b.Socket.NoSend
	g.Socket.NoPromiscuous = a.Socket.NoPromiscuous || b.Socket.NoPromiscuous
	g.Socket.Snaplen = lesserSnaplen(a.Socket.Snaplen, b.Socket.Snaplen)
	shows := func(*rxring.Device) bool { return true }
	switch first, second := a.Socket.Filter, b.Socket.Filter; {
	case second == nil:
		g.Socket.Filter = first
	case first == nil || slices.Equal(first, second):
	default:
		prog, limit, err := then(first, second)
		if err != nil { // they cannot be one program
			shows = func(*rxring.Device) bool { return false }
		}
		g.Socket.Filter = prog
		g.Socket.Snaplen = lesserSnaplen(g.Socket.Snaplen, int(min(limit, maxSnaplen)))
	}
	g.Socket.Devices = func(d *rxring.Device) bool {
		return shows(d) && (a.Socket.Devices == nil || a.Socket.Devices(d)) && (b.Socket.Devices == nil || b.Socket.Devices(d))
	}
	return g
}

// lesserSnaplen is the lesser of two, of which 0 is the most.
func lesserSnaplen(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

package serve

import (
	"cmp"
	"slices"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
)

// grantOfBoth returns the grant of now. While a reload is prepared (next is not nil), it
// returns what now and next both grant.
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
	return intersect(g, n), nil
}

// intersect returns what a and b both grant. Fields that it does not combine are b's.
func intersect(a, b attach.Grant) attach.Grant {
	g := b
	g.MaxMemory = min(cmp.Or(a.MaxMemory, attach.DefaultMaxMemory), cmp.Or(b.MaxMemory, attach.DefaultMaxMemory))
	g.MaxSockets = min(cmp.Or(a.MaxSockets, attach.DefaultMaxSockets), cmp.Or(b.MaxSockets, attach.DefaultMaxSockets))
	g.AllStatus = a.AllStatus && b.AllStatus
	g.Socket.NoSend = a.Socket.NoSend || b.Socket.NoSend
	g.Socket.NoPromiscuous = a.Socket.NoPromiscuous || b.Socket.NoPromiscuous
	g.Socket.Snaplen = lesserSnaplen(a.Socket.Snaplen, b.Socket.Snaplen)
	allows := func(*rxring.Device) bool { return true }
	switch first, second := a.Socket.Filter, b.Socket.Filter; {
	case second == nil:
		g.Socket.Filter = first
	case first == nil || slices.Equal(first, second):
	default:
		prog, limit, err := then(first, second)
		if err != nil { // they cannot be combined
			allows = func(*rxring.Device) bool { return false }
		}
		g.Socket.Filter = prog
		g.Socket.Snaplen = lesserSnaplen(g.Socket.Snaplen, int(min(limit, maxSnaplen)))
	}
	g.Socket.Devices = func(d *rxring.Device) bool {
		return allows(d) && (a.Socket.Devices == nil || a.Socket.Devices(d)) && (b.Socket.Devices == nil || b.Socket.Devices(d))
	}
	return g
}

// lesserSnaplen returns the lesser of two; 0 means unlimited.
func lesserSnaplen(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

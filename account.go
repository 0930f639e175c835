package rxring

import (
	"sync"
	"sync/atomic"
)

// Account is what the sockets of one user share beside their [Budget]: their part of the
// writers' time, and their memberships. A socket whose [Grant] has an Account cannot take
// much of either from others:
//
//   - What writers spend on its packets (its filter, its ring, its queue) is measured by
//     sampling. Of one writer's time on a device a user takes at most a quarter, and all
//     users together half. Where they want more, those who want most get equal parts. A
//     user who is alone takes three quarters. Times are measured in windows of 20 ms. Packets
//     beyond that are dropped for the user's sockets, and counted as [ring.Throttled].
//   - All its sockets together have at most 64 memberships: ENOBUFS.
//   - Its filters are compiled by [cbpf.CompileBounded]. A source is told only of those that are
//     short and cheap: see [Device.Filters].
//
// All methods may be called concurrently. An Account is of one namespace.
type Account struct {
	memberships atomic.Int32
	throttled   atomic.Uint64
	shares      sync.Map // device index (int32) -> *share
}

// NewAccount returns an Account for the sockets of one user.
func NewAccount() *Account { return new(Account) }

// Throttled is how many packets were dropped so far because the user's sockets took too much
// time: the sum of their [ring.Throttled].
func (a *Account) Throttled() uint64 { return a.throttled.Load() }

// maxAccountMemberships is how many memberships the sockets of an Account have together. A
// program that asks for more listens to everything (PACKET_MR_ALLMULTI).
const maxAccountMemberships = 64

// takeMembership reports whether the account may have one more. A nil account may.
func (a *Account) takeMembership() bool {
	if a == nil {
		return true
	}
	if a.memberships.Add(1) > maxAccountMemberships {
		a.memberships.Add(-1)
		return false
	}
	return true
}

func (a *Account) giveBackMembership() {
	if a != nil {
		a.memberships.Add(-1)
	}
}

// shareOf is the account's share of the time of the device's writers.
func (a *Account) shareOf(ns *Namespace, ifindex int32) *share {
	if s, ok := a.shares.Load(ifindex); ok {
		return s.(*share)
	}
	p, _ := ns.pools.LoadOrStore(ifindex, new(pool))
	s, _ := a.shares.LoadOrStore(ifindex, &share{account: a, ifindex: ifindex, pool: p.(*pool)})
	return s.(*share)
}

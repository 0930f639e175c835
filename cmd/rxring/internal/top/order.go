package top

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/rxring/rxring/internal/suggest"
)

// Order is what readers are sorted by.
type Order int

const (
	ByOpened   Order = iota // the oldest first
	ByDrops                 // the highest drop rate first, then the highest count
	ByHeld                  // the largest part of its ring held first
	ByCaptured              // the highest capture rate first, then the highest count
	orders
)

var orderNames = [orders]string{"opened", "drops", "held", "captured"}

func (o Order) String() string { return orderNames[o] }

// ParseOrder returns the order of that name.
func ParseOrder(name string) (Order, error) {
	if i := slices.Index(orderNames[:], name); i >= 0 {
		return Order(i), nil
	}
	return 0, fmt.Errorf("%q: %swant %s", name, suggest.DidYouMean(name, orderNames[:]), suggest.Or(orderNames[:]))
}

// sorted returns a sorted copy of sockets.
func sorted(sockets []Socket, o Order) []Socket {
	all := slices.Clone(sockets)
	zero := new(Rates)
	slices.SortStableFunc(all, func(a, b Socket) int {
		x, y := cmp.Or(a.Rates, zero), cmp.Or(b.Rates, zero)
		first := 0
		switch o {
		case ByDrops:
			first = cmp.Or(cmp.Compare(y.Dropped.Sum(), x.Dropped.Sum()), cmp.Compare(b.SocketStatus.Dropped.Sum(), a.SocketStatus.Dropped.Sum()))
		case ByHeld:
			first = cmp.Compare(heldPercent(b.Ring), heldPercent(a.Ring))
		case ByCaptured:
			first = cmp.Or(cmp.Compare(y.Captured, x.Captured), cmp.Compare(b.SocketStatus.Captured, a.SocketStatus.Captured))
		}
		return cmp.Or(first, a.Opened.Compare(b.Opened), cmp.Compare(a.Peer.ID, b.Peer.ID), cmp.Compare(a.ID, b.ID))
	})
	return all
}

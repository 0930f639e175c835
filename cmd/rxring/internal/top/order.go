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
	ByDrops                 // who loses most now, then who has lost most
	ByHeld                  // who has most of its ring
	ByCaptured              // who gets most now
	orders
)

var orderNames = [orders]string{"opened", "drops", "held", "captured"}

func (o Order) String() string { return orderNames[o] }

// ParseOrder finds an order by its name.
func ParseOrder(name string) (Order, error) {
	if i := slices.Index(orderNames[:], name); i >= 0 {
		return Order(i), nil
	}
	return 0, fmt.Errorf("%q: %swant %s", name, suggest.DidYouMean(name, orderNames[:]), suggest.Or(orderNames[:]))
}

// sorted is sockets in order o.
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
			first = cmp.Compare(withReader(b.Ring), withReader(a.Ring))
		case ByCaptured:
			first = cmp.Or(cmp.Compare(y.Captured, x.Captured), cmp.Compare(b.SocketStatus.Captured, a.SocketStatus.Captured))
		}
		return cmp.Or(first, a.Opened.Compare(b.Opened), cmp.Compare(a.Peer.ID, b.Peer.ID), cmp.Compare(a.ID, b.ID))
	})
	return all
}

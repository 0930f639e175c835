package rxring

import (
	"maps"
	"slices"
	"sync"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// OnInterestChange has f called whenever what sockets want of the device may have changed:
// what HasListeners, Up, Promiscuous, AllMulticast, RxFilterAddrs and Filters say. A source
// that must work to make packets does so from the first reader to the last.
//
// f is called in the call that changes it, before that returns: a Bind, say, waits
// for f. Calls may come at once and overtake each other, so f asks the device how
// things are. Methods of devices and of the namespace may be called, those of
// sockets may not: one is locked meanwhile. With nil, as at first, nobody is told;
// a call of the function before it may still be under way. No writer waits for f.
func (d *Device) OnInterestChange(f func()) {
	d.ns.mu.Lock()
	defer d.ns.mu.Unlock()
	d.watch = f
	d.ns.mu.tell(d)
}

// watchedMutex is a mutex that, unlocked, tells those who watch devices.
type watchedMutex struct {
	sync.Mutex
	news []func() // since it was locked
}

// tell is for a device whose sockets may want something else. The mutex is held.
func (m *watchedMutex) tell(d *Device) {
	if d.watch != nil {
		m.news = append(m.news, d.watch)
	}
}

func (m *watchedMutex) Unlock() {
	news := m.news
	m.news = nil
	m.Mutex.Unlock()
	for _, f := range news {
		f()
	}
}

// RxFilterAddrs lists what addresses beside its own and broadcast the sockets'
// memberships have the device hear (PACKET_MR_MULTICAST, PACKET_MR_UNICAST), in no
// order. Of groups, and of others, there are at most 32: of more than that AllMulticast and
// Promiscuous tell.
func (d *Device) RxFilterAddrs() [][6]byte { return slices.Collect(maps.Keys(d.hears.Load().addrs)) }

// Filters lists different filters, such that a packet that none of them lets pass, run
// as on a SOCK_RAW socket for all protocols, need not be delivered: no socket would
// take it. It is so unless all is true: then some socket may take any packet, or it
// cannot be said like this which.
//
// They are for a source to run in the sockets' place: for every packet that it sees, whoever
// pays for that. So none of them is the filter of a socket with an [Account] that has more
// than 96 instructions or a load that walks through the packet ([cbpf.Walks]), and there are
// at most 16.
func (d *Device) Filters() (programs [][]cbpf.Instruction, all bool) {
	d.ns.mu.Lock()
	defer d.ns.mu.Unlock()
	taps := d.taps.Load()
	if taps == nil {
		return nil, false
	}
	for _, t := range *taps {
		sockets := []*Socket{t.socket}
		if t.group != nil {
			if t.group.defrag != nil {
				return nil, true // the filters see what has been put together
			}
			sockets = *t.group.members.Load()
		}
		if t.protocol() != tpacket.ETHPAll {
			return nil, true // they see no VLAN tags
		}
		for _, s := range sockets {
			f := s.bound()
			if f == nil {
				return nil, true
			}
			if p := f.Program(); !slices.ContainsFunc(programs, func(q []cbpf.Instruction) bool { return slices.Equal(p, q) }) {
				programs = append(programs, p)
			}
			if len(programs) > maxFilters {
				return nil, true
			}
		}
	}
	return programs, false
}

const (
	// maxFilters is how many different filters a source is told of.
	maxFilters = 16
	// maxLent is how many instructions of a filter of somebody else's a source runs.
	maxLent = 96
)

// bound is a filter that refuses, from the link-layer header on, nothing that the
// socket takes, nil: there is none. With a grant that hides bytes it is the grant's:
// what the socket's own says of them would show in how many packets come.
func (s *Socket) bound() *cbpf.Filter {
	rx := s.rx.Load()
	switch {
	case rx.grant.restricts():
		return rx.grant.filter
	case s.typ != SockRaw || rx.filter == nil:
		return nil
	case s.grant.account() != nil && (len(rx.filter.Program()) > maxLent || cbpf.Walks(rx.filter.Program()) > 0):
		return nil
	}
	return rx.filter
}

// refiltered is for a socket that has another filter.
func (ns *Namespace) refiltered(s *Socket) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if !s.hooked {
		return
	}
	for _, d := range ns.devices {
		if i := int(s.ifindex.Load()); i == 0 || i == d.index {
			ns.mu.tell(d)
		}
	}
}

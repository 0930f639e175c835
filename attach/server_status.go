package attach

import (
	"cmp"
	"slices"
	"time"

	"github.com/rxring/rxring"
)

// Status returns the namespace's devices and the sockets of all peers.
func (s *Server) Status() Status { return s.statusFor(nil) }

// statusFor returns what p may see; nil: everything.
func (s *Server) statusFor(p *peer) Status {
	st := Status{Time: time.Now(), Devices: []DeviceStatus{}, Sockets: []SocketStatus{}}
	devices := s.config.Namespace.Devices()
	if p != nil {
		devices = p.visibleDevices()
	}
	counters := p == nil || p.currentGrant().showsCounters()
	for _, d := range devices {
		ds := StatusOf(d)
		ds.Description = s.config.Describe(d)
		if !counters {
			ds.Counters = nil
		}
		st.Devices = append(st.Devices, ds)
	}
	for _, o := range s.listPeers() {
		if p == nil || p.seesSocketsOf(o) {
			st.Sockets = append(st.Sockets, o.socketStatuses()...)
		}
	}
	slices.SortFunc(st.Sockets, func(a, b SocketStatus) int {
		return cmp.Or(cmp.Compare(a.Peer.ID, b.Peer.ID), cmp.Compare(a.ID, b.ID))
	})
	return st
}

// seesSocketsOf reports whether the status for p has o's sockets. A peer of Server.Connect has
// the user of this process, whose other peers may have been granted more.
func (p *peer) seesSocketsOf(o *peer) bool {
	return p == o || p.UID == o.UID && !p.inside || p.currentGrant().AllStatus
}

// showsCounters reports whether a peer may see the sources' counters. They count every
// packet: a peer that may not see some packets would learn from them when those arrive.
func (g Grant) showsCounters() bool {
	return g.AllStatus || g.Socket.Filter == nil && g.Socket.Snaplen == 0 && g.Socket.Devices == nil
}

func (p *peer) socketStatuses() (all []SocketStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.sockets {
		all = append(all, p.socketStatus(s))
	}
	return all
}

func (p *peer) socketStatus(s *peerSocket) SocketStatus {
	st := SocketStatus{ID: s.id, Peer: p.Peer, Opened: s.opened, Queue: s.QueuedBytes()}
	if index := int(s.Addr().Ifindex); index != 0 {
		st.Device = "(removed)"
		if d, ok := p.server.config.Namespace.DeviceByIndex(index); ok {
			st.Device = d.Name()
		}
	}
	_, st.Filter, _ = s.GetFilter(0)
	if b := s.Ring(); b != nil {
		st.Ring = ringStatus(b)
	}
	st.setCounts(s.Socket)
	return st
}

func (st *SocketStatus) setCounts(s *rxring.Socket) {
	t := s.Totals()
	st.Offered, st.Filtered, st.Captured = t.Offered(), t.Filtered, t.Captured
	st.Dropped = t.Drops
	st.Sent = s.Sent()
}

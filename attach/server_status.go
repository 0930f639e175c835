package attach

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/rxring/rxring"
)

// Status is the namespace's devices, and the sockets of all peers.
func (s *Server) Status() Status { return s.status(nil) }

// status is what p may know, everything for nil.
func (s *Server) status(p *peer) Status {
	st := Status{Time: time.Now(), Devices: []DeviceStatus{}, Sockets: []SocketStatus{}}
	devices := s.config.Namespace.Devices()
	if p != nil {
		devices = p.visible()
	}
	counters := p == nil || p.granted().showsCounters()
	for _, d := range devices {
		ds := s.deviceStatus(d)
		if !counters {
			ds.Counters = nil
		}
		st.Devices = append(st.Devices, ds)
	}
	for _, o := range s.list() {
		if p == nil || p.UID == o.UID || p.granted().AllStatus {
			st.Sockets = append(st.Sockets, o.socketStatuses()...)
		}
	}
	slices.SortFunc(st.Sockets, func(a, b SocketStatus) int {
		return cmp.Or(cmp.Compare(a.Peer.ID, b.Peer.ID), cmp.Compare(a.ID, b.ID))
	})
	return st
}

// showsCounters reports whether Status has the sources' counters. They count all of a
// source's packets: a peer that may not see some of them would learn from the counters when
// those pass.
func (g Grant) showsCounters() bool {
	return g.AllStatus || g.Socket.Filter == nil && g.Socket.Snaplen == 0 && g.Socket.Devices == nil
}

func (s *Server) deviceStatus(d *rxring.Device) DeviceStatus {
	st := StatusOf(d)
	st.Description = s.config.Describe(d)
	return st
}

// StatusOf is what there is to tell of a device, but for its Description.
func StatusOf(d *rxring.Device) DeviceStatus {
	st := DeviceStatus{Index: d.Index(), Name: d.Name(), Type: "raw-ip", MTU: d.MTU(), Up: d.Up()}
	if d.Type().Ethernet() {
		addr := d.HardwareAddr()
		st.Type, st.Addr = "ethernet", fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", addr[0], addr[1], addr[2], addr[3], addr[4], addr[5])
	}
	switch t := d.Type(); {
	case t == rxring.Loopback:
		st.Type = "loopback"
	case t != rxring.RawIP && !t.Ethernet():
		st.Type = fmt.Sprintf("arphrd-%d", t)
	}
	for _, a := range d.Prefixes() {
		st.Addrs = append(st.Addrs, a.String())
	}
	return st
}

func (p *peer) socketStatuses() (all []SocketStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.sockets {
		all = append(all, p.socketStatus(k))
	}
	return all
}

func (p *peer) socketStatus(k *peerSocket) SocketStatus {
	st := SocketStatus{ID: k.id, Peer: p.Peer, Opened: k.opened, Queue: k.QueuedBytes()}
	if index := int(k.Addr().Ifindex); index != 0 {
		st.Device = "(removed)"
		if d, ok := p.server.config.Namespace.DeviceByIndex(index); ok {
			st.Device = d.Name()
		}
	}
	_, st.Filter, _ = k.GetFilter(0)
	if b := k.Ring(); b != nil {
		st.Ring = ringStatus(b)
	}
	st.count(k.Socket)
	return st
}

// count fills in what became of the packets.
func (st *SocketStatus) count(k *rxring.Socket) {
	t := k.Totals()
	st.Offered, st.Filtered, st.Captured = t.Offered(), t.Filtered, t.Captured
	st.Dropped = t.Drops
	st.Sent = k.Sent()
}

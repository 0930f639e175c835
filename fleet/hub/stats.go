package hub

import "github.com/nats-io/nats-server/v2/server"

// Stats are counts of a hub, since its start.
type Stats struct {
	Connections   int    // open now
	LeafNodes     int    // connected now
	Subscriptions uint64 // now
	MessagesIn    uint64
	MessagesOut   uint64
	BytesIn       uint64
	BytesOut      uint64
	SlowConsumers uint64 // connections closed because they did not receive what was sent
	StoreBytes    uint64 // of JetStream, now
}

// Stats returns the hub's counts.
func (h *Hub) Stats() Stats {
	v, err := h.server.Varz(&server.VarzOptions{})
	if err != nil { // not for these options
		return Stats{}
	}
	s := Stats{
		Connections: v.Connections, LeafNodes: v.Leafs, Subscriptions: uint64(v.Subscriptions),
		MessagesIn: uint64(v.InMsgs), MessagesOut: uint64(v.OutMsgs), BytesIn: uint64(v.InBytes), BytesOut: uint64(v.OutBytes),
		SlowConsumers: uint64(v.SlowConsumers),
	}
	if v.JetStream.Stats != nil {
		s.StoreBytes = v.JetStream.Stats.Store
	}
	return s
}

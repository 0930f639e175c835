package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rxring/rxring/fleet/hub"
)

// hubCollector has the metrics of a hub.
type hubCollector struct{ hub *hub.Hub }

// hubMetrics returns the metrics of a hub.
func hubMetrics(h *hub.Hub) prometheus.Collector { return hubCollector{h} }

var (
	descHubConnections   = prometheus.NewDesc("rxring_hub_connections", "Connected hosts and readers.", nil, nil)
	descHubLeafNodes     = prometheus.NewDesc("rxring_hub_leaf_nodes", "Connected leaf nodes, which are hosts with recordings of their own.", nil, nil)
	descHubSubscriptions = prometheus.NewDesc("rxring_hub_subscriptions", "Subscriptions of hosts and readers.", nil, nil)
	descHubMessages      = prometheus.NewDesc("rxring_hub_messages_total", "Messages received (in) and sent (out).", []string{"direction"}, nil)
	descHubBytes         = prometheus.NewDesc("rxring_hub_bytes_total", "Bytes of messages received (in) and sent (out).", []string{"direction"}, nil)
	descHubSlow          = prometheus.NewDesc("rxring_hub_slow_consumers_total", "Connections closed because they did not receive what was sent to them.", nil, nil)
	descHubStore         = prometheus.NewDesc("rxring_hub_store_bytes", "Bytes of the recordings in the hub's store.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c hubCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descHubConnections, descHubLeafNodes, descHubSubscriptions, descHubMessages, descHubBytes, descHubSlow, descHubStore} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c hubCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.hub.Stats()
	gauge(ch, descHubConnections, float64(s.Connections))
	gauge(ch, descHubLeafNodes, float64(s.LeafNodes))
	gauge(ch, descHubSubscriptions, float64(s.Subscriptions))
	counter(ch, descHubMessages, s.MessagesIn, "in")
	counter(ch, descHubMessages, s.MessagesOut, "out")
	counter(ch, descHubBytes, s.BytesIn, "in")
	counter(ch, descHubBytes, s.BytesOut, "out")
	counter(ch, descHubSlow, s.SlowConsumers)
	gauge(ch, descHubStore, float64(s.StoreBytes))
}

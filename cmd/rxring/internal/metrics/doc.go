// Package metrics serves metrics to Prometheus, over HTTP at a loopback address or a unix socket.
// Which they are is a [prometheus.Collector]'s business.
//
// The one invariant: a client costs at most a connection of 16. One that is slow, idle, or a web
// page in a local browser, keeps no other from the metrics.
package metrics

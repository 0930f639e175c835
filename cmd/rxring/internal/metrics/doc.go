// Package metrics serves metrics to Prometheus, over HTTP at a loopback address or a unix socket.
// The caller's [prometheus.Collector] has them.
//
// The one invariant: a client costs at most a connection of 16. One that is slow, idle, or a web
// page in a local browser, keeps no other from the metrics.
package metrics

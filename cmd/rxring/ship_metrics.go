package main

import (
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rxring/rxring/fleet"
)

// shipCollector has the metrics of a host that ships its devices.
type shipCollector struct {
	shipper *fleet.Shipper
	nc      *nats.Conn
}

// shipMetrics returns the metrics of a shipper, and of its connection.
func shipMetrics(s *fleet.Shipper, nc *nats.Conn) prometheus.Collector { return shipCollector{s, nc} }

var (
	sessionLabels   = []string{"device", "class"}
	recordingLabels = []string{"device", "recording"}

	descShipUp        = prometheus.NewDesc("rxring_ship_device_up", "1 if the device is up, else 0.", []string{"device"}, nil)
	descShipSessions  = prometheus.NewDesc("rxring_ship_sessions", "Open sessions of the device.", sessionLabels, nil)
	descShipReaders   = prometheus.NewDesc("rxring_ship_readers", "Readers of the device's open sessions.", sessionLabels, nil)
	descShipOffered   = prometheus.NewDesc("rxring_ship_offered_packets_total", "Packets that the sessions' filters accepted.", sessionLabels, nil)
	descShipPublished = prometheus.NewDesc("rxring_ship_published_packets_total", "Packets published.", sessionLabels, nil)
	descShipBytes     = prometheus.NewDesc("rxring_ship_published_bytes_total", "Bytes of the batches published.", sessionLabels, nil)
	descShipBatches   = prometheus.NewDesc("rxring_ship_published_batches_total", "Batches published.", sessionLabels, nil)
	descShipLost      = prometheus.NewDesc("rxring_ship_lost_packets_total", "Packets lost before they were published, by place: before_device, far_ring.", []string{"device", "class", "place"}, nil)
	descShipCut       = prometheus.NewDesc("rxring_ship_cut_packets_total", "Packets truncated.", sessionLabels, nil)
	descShipRecorded  = prometheus.NewDesc("rxring_ship_recorded_packets_total", "Packets recorded.", recordingLabels, nil)
	descShipStored    = prometheus.NewDesc("rxring_ship_recorded_bytes_total", "Bytes of the batches recorded.", recordingLabels, nil)
	descShipUnstored  = prometheus.NewDesc("rxring_ship_recording_lost_packets_total", "Packets lost before they were recorded, by place: before_device, far_ring.", []string{"device", "recording", "place"}, nil)
	descShipConnected = prometheus.NewDesc("rxring_ship_connected", "1 if the host is connected to the NATS server, else 0.", nil, nil)
	descShipReconnect = prometheus.NewDesc("rxring_ship_reconnects_total", "Times that the host has connected to the NATS server again.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c shipCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descShipUp, descShipSessions, descShipReaders, descShipOffered, descShipPublished, descShipBytes,
		descShipBatches, descShipLost, descShipCut, descShipRecorded, descShipStored, descShipUnstored, descShipConnected, descShipReconnect,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c shipCollector) Collect(ch chan<- prometheus.Metric) {
	status := c.shipper.Status()
	for _, d := range status.Devices {
		gauge(ch, descShipUp, number(d.Up), d.Name)
	}
	for _, r := range status.Recordings {
		counter(ch, descShipRecorded, r.Packets, r.Device, r.Recording)
		counter(ch, descShipStored, r.Bytes, r.Device, r.Recording)
		counter(ch, descShipUnstored, r.Lost, r.Device, r.Recording, "before_device")
		counter(ch, descShipUnstored, r.Dropped, r.Device, r.Recording, "far_ring")
	}
	for _, t := range c.shipper.Totals() {
		gauge(ch, descShipSessions, float64(t.Sessions), t.Device, t.Class)
		gauge(ch, descShipReaders, float64(t.Readers), t.Device, t.Class)
		counter(ch, descShipOffered, t.Offered, t.Device, t.Class)
		counter(ch, descShipPublished, t.Packets, t.Device, t.Class)
		counter(ch, descShipBytes, t.Bytes, t.Device, t.Class)
		counter(ch, descShipBatches, t.Batches, t.Device, t.Class)
		counter(ch, descShipLost, t.Lost, t.Device, t.Class, "before_device")
		counter(ch, descShipLost, t.Dropped, t.Device, t.Class, "far_ring")
		counter(ch, descShipCut, t.Cut, t.Device, t.Class)
	}
	gauge(ch, descShipConnected, number(c.nc.IsConnected()))
	counter(ch, descShipReconnect, c.nc.Stats().Reconnects)
}

package serve

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/ring"
)

// meter keeps counters for Prometheus. Counters must never decrease, but sockets end: so what
// a socket has counted since the last time is added to its device's sums.
type meter struct {
	lostLines func() uint64 // of the log

	collecting sync.Mutex // held by Collect: each status is newer than the previous one

	mu     sync.Mutex
	status func() attach.Status // nil until the server runs
	sums   map[string]*sums     // by device
	open   map[socketKey]attach.SocketStatus
	peers  map[uint64]bool
	events map[attach.EventKind]uint64
}

// sums are counts of packets.
type sums struct {
	offered, filtered, captured, sent uint64
	drops                             ring.Drops
}

type socketKey struct {
	peer uint64
	id   uint32
}

// DescribeMetrics sends the descriptions of all metrics that a daemon serves: a test compares the
// dashboard of dist/grafana with them.
func DescribeMetrics(ch chan<- *prometheus.Desc) { newMeter().Describe(ch) }

func newMeter() *meter {
	return &meter{
		sums:   make(map[string]*sums),
		open:   make(map[socketKey]attach.SocketStatus),
		peers:  make(map[uint64]bool),
		events: make(map[attach.EventKind]uint64),

		lostLines: func() uint64 { return 0 },
	}
}

// setStatus sets the source of the sockets' counts.
func (m *meter) setStatus(status func() attach.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status = status
}

// note counts an event. It returns the name of the device of the event's socket, which may
// have been removed since.
func (m *meter) note(e attach.Event) (device string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events[e.Kind] += max(1, e.Count)
	switch e.Kind {
	case attach.PeerAttached:
		m.peers[e.Peer.ID] = true
	case attach.PeerDetached, attach.PeerFaulted:
		delete(m.peers, e.Peer.ID)
	case attach.SocketOpened:
		device = m.account(*e.Socket)
	case attach.SocketClosed:
		device = m.account(*e.Socket)
		delete(m.open, socketKey{e.Peer.ID, e.Socket.ID})
	}
	return device
}

// anyDevice is the label of sockets on all devices, as in libpcap.
const anyDevice = "any"

// account adds what a socket has counted since the last time to its device's sums, and
// returns the device's name.
func (m *meter) account(s attach.SocketStatus) string {
	k := socketKey{s.Peer.ID, s.ID}
	last, was := m.open[k]
	switch {
	case s.Device == "":
		s.Device = anyDevice
	case s.Device[0] == '(' && was: // its device was removed
		s.Device = last.Device
	}
	m.open[k] = s
	d := m.sums[s.Device]
	if d == nil {
		d = new(sums)
		m.sums[s.Device] = d
	}
	d.offered += s.Offered - last.Offered
	d.filtered += s.Filtered - last.Filtered
	d.captured += s.Captured - last.Captured
	d.sent += s.Sent - last.Sent
	for why, n := range s.Dropped.All() {
		d.drops[why] += n - last.Dropped[why]
	}
	return s.Device
}

// update accounts for all sockets, and returns the server's devices.
func (m *meter) update() []attach.DeviceStatus {
	m.mu.Lock()
	status := m.status
	m.mu.Unlock()
	if status == nil {
		return nil
	}
	st := status() // without mu: the server may hold a lock of its own while it calls note
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range st.Sockets {
		// A socket that was closed meanwhile or is not bound yet is not in open.
		if _, ok := m.open[socketKey{s.Peer.ID, s.ID}]; ok {
			m.account(s)
		}
	}
	return st.Devices
}

var (
	descOffered  = prometheus.NewDesc("rxring_offered_packets_total", "Packets offered to sockets on the device.", []string{"device"}, nil)
	descFiltered = prometheus.NewDesc("rxring_filtered_packets_total", "Packets rejected by the programs' own filters.", []string{"device"}, nil)
	descCaptured = prometheus.NewDesc("rxring_captured_packets_total", "Packets captured.", []string{"device"}, nil)
	descDropped  = prometheus.NewDesc("rxring_dropped_packets_total", "Packets dropped, by reason.", []string{"device", "reason"}, nil)
	descSent     = prometheus.NewDesc("rxring_sent_packets_total", "Packets that programs sent.", []string{"device"}, nil)
	descSockets  = prometheus.NewDesc("rxring_sockets", "Sockets bound to the device.", []string{"device"}, nil)
	descMemory   = prometheus.NewDesc("rxring_ring_memory_bytes", "Memory of all receive rings.", nil, nil)
	descPeers    = prometheus.NewDesc("rxring_peers", "Attached processes.", nil, nil)
	descAttached = prometheus.NewDesc("rxring_attached_total", "Processes that have attached since the start.", nil, nil)
	descRefused  = prometheus.NewDesc("rxring_refused_total", "Refused connections.", nil, nil)
	descFaulted  = prometheus.NewDesc("rxring_faulted_total", "Processes detached because they broke the protocol.", nil, nil)
	descLogLost  = prometheus.NewDesc("rxring_log_dropped_lines_total", "Lost lines of the log.", nil, nil)
	descUp       = prometheus.NewDesc("rxring_device_up", "1 if the device is up, else 0.", []string{"device", "source"}, nil)
	descKernel   = prometheus.NewDesc("rxring_source_kernel_drops_total", "Packets that the kernel dropped before rxring received them.", []string{"device"}, nil)
	descSource   = prometheus.NewDesc("rxring_source_total", "Counters of the device's source.", []string{"device", "counter"}, nil)
)

// Describe implements prometheus.Collector.
func (m *meter) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descOffered, descFiltered, descCaptured, descDropped, descSent, descSockets, descMemory,
		descPeers, descAttached, descRefused, descFaulted, descLogLost, descUp, descKernel, descSource,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *meter) Collect(ch chan<- prometheus.Metric) {
	m.collecting.Lock()
	defer m.collecting.Unlock()
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	for _, d := range m.update() {
		up := 0.0
		if d.Up {
			up = 1
		}
		gauge(descUp, up, d.Name, d.Source)
		for name, n := range d.Counters {
			if name == feed.KernelDrops {
				counter(descKernel, n, d.Name)
			} else {
				counter(descSource, n, d.Name, name)
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	sockets := make(map[string]int)
	var memory uint64
	for _, s := range m.open {
		sockets[s.Device]++
		if s.Ring != nil {
			memory += uint64(s.Ring.Slots) * uint64(s.Ring.SlotBytes)
		}
	}
	for device, s := range m.sums {
		counter(descOffered, s.offered, device)
		counter(descFiltered, s.filtered, device)
		counter(descCaptured, s.captured, device)
		counter(descSent, s.sent, device)
		for why, n := range s.drops.All() {
			counter(descDropped, n, device, why.Name())
		}
		gauge(descSockets, float64(sockets[device]), device)
	}
	gauge(descMemory, float64(memory))
	gauge(descPeers, float64(len(m.peers)))
	counter(descAttached, m.events[attach.PeerAttached])
	counter(descRefused, m.events[attach.PeerRefused]+m.events[attach.PeersRefused])
	counter(descFaulted, m.events[attach.PeerFaulted])
	counter(descLogLost, m.lostLines())
}

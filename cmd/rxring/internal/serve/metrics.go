package serve

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/feed"
	"github.com/rxring/rxring/ring"
)

// meter counts for Prometheus. Sockets come and go while counters only grow: what was
// new of a socket since it was last looked at is added to its device's sums.
type meter struct {
	lostLines func() uint64 // of the log

	collecting sync.Mutex // one after the other: a status is newer than the one before

	mu     sync.Mutex
	status func() attach.Status // nil until there is a server
	sums   map[string]*sums     // by device
	open   map[socketKey]attach.SocketStatus
	peers  map[uint64]bool
	events map[attach.EventKind]uint64
}

// sums are what became of packets.
type sums struct {
	offered, filtered, captured, sent uint64
	drops                             ring.Drops
}

type socketKey struct {
	peer uint64
	id   uint32
}

func newMeter() *meter {
	return &meter{
		sums:   make(map[string]*sums),
		open:   make(map[socketKey]attach.SocketStatus),
		peers:  make(map[uint64]bool),
		events: make(map[attach.EventKind]uint64),

		lostLines: func() uint64 { return 0 },
	}
}

// watch follows status from now on.
func (m *meter) watch(status func() attach.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status = status
}

// note is for attach.Config.Notify. It returns the name of the device that the event's
// socket is bound to, or was before that was removed.
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

// anyDevice is the label of sockets on all devices, as libpcap calls that.
const anyDevice = "any"

// account adds what is new of a socket to its device's sums, and returns that one's
// name.
func (m *meter) account(s attach.SocketStatus) string {
	k := socketKey{s.Peer.ID, s.ID}
	last, was := m.open[k]
	switch {
	case s.Device == "":
		s.Device = anyDevice
	case s.Device[0] == '(' && was: // its device was removed, the counts are that one's
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

// look accounts for what the server's sockets have now, and returns its devices.
func (m *meter) look() []attach.DeviceStatus {
	m.mu.Lock()
	status := m.status
	m.mu.Unlock()
	if status == nil {
		return nil
	}
	st := status() // without the lock: the server has its own while it tells of events
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range st.Sockets {
		// One that is closed meanwhile, or bound to nothing yet, is not among them.
		if _, ok := m.open[socketKey{s.Peer.ID, s.ID}]; ok {
			m.account(s)
		}
	}
	return st.Devices
}

var (
	descOffered  = prometheus.NewDesc("rxring_offered_packets_total", "Packets that sockets on the device were offered.", []string{"device"}, nil)
	descFiltered = prometheus.NewDesc("rxring_filtered_packets_total", "Packets that the programs' own filters refused.", []string{"device"}, nil)
	descCaptured = prometheus.NewDesc("rxring_captured_packets_total", "Packets that sockets took.", []string{"device"}, nil)
	descDropped  = prometheus.NewDesc("rxring_dropped_packets_total", "Packets that sockets were offered and did not get, by reason.", []string{"device", "reason"}, nil)
	descSent     = prometheus.NewDesc("rxring_sent_packets_total", "Packets that programs sent.", []string{"device"}, nil)
	descSockets  = prometheus.NewDesc("rxring_sockets", "Sockets that are bound to the device.", []string{"device"}, nil)
	descMemory   = prometheus.NewDesc("rxring_ring_memory_bytes", "Memory of all receive rings.", nil, nil)
	descPeers    = prometheus.NewDesc("rxring_peers", "Processes that are attached.", nil, nil)
	descAttached = prometheus.NewDesc("rxring_attached_total", "Processes that have attached.", nil, nil)
	descRefused  = prometheus.NewDesc("rxring_refused_total", "Connections that were refused.", nil, nil)
	descFaulted  = prometheus.NewDesc("rxring_faulted_total", "Processes that were thrown out for what they sent.", nil, nil)
	descLogLost  = prometheus.NewDesc("rxring_log_dropped_lines_total", "Lines of the log that were lost.", nil, nil)
	descUp       = prometheus.NewDesc("rxring_device_up", "1: the device is up.", []string{"device", "source"}, nil)
	descKernel   = prometheus.NewDesc("rxring_source_kernel_drops_total", "Packets that the kernel dropped before rxring saw them.", []string{"device"}, nil)
	descSource   = prometheus.NewDesc("rxring_source_total", "What the source of a device counts.", []string{"device", "counter"}, nil)
)

func (m *meter) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descOffered, descFiltered, descCaptured, descDropped, descSent, descSockets, descMemory,
		descPeers, descAttached, descRefused, descFaulted, descLogLost, descUp, descKernel, descSource,
	} {
		ch <- d
	}
}

// Collect is Prometheus' question.
func (m *meter) Collect(ch chan<- prometheus.Metric) {
	m.collecting.Lock()
	defer m.collecting.Unlock()
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	for _, d := range m.look() {
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

package top

import (
	"time"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/ring"
)

// Report is a Status with rates and with the readers' names.
type Report struct {
	Time     time.Time `json:"time"`
	Interval float64   `json:"interval"`        // seconds that the rates are measured over; 0: there are none
	Hosts    []Host    `json:"hosts,omitempty"` // of a fleet; nil: of a process
	Devices  []Device  `json:"devices"`
	Sockets  []Socket  `json:"sockets"`
}

// Device is a device with the rates of its source's counters.
type Device struct {
	attach.DeviceStatus
	Rates map[string]float64 `json:"rates,omitempty"` // per second; nil: not known yet
}

// Socket is a packet socket with its rates and the names of its user and program.
type Socket struct {
	attach.SocketStatus
	User    string `json:"user,omitempty"`    // the name of Peer.UID
	Program string `json:"program,omitempty"` // "": not visible to this process
	Rates   *Rates `json:"rates,omitempty"`   // nil: not known yet

	// Session is the session of a fleet's host that the socket stands for; nil: none.
	Session *fleet.SessionStatus `json:"session,omitempty"`
}

// Rates are the rates of a socket's counters, per second.
type Rates struct {
	Offered  float64                 `json:"offered"`
	Filtered float64                 `json:"filtered"`
	Captured float64                 `json:"captured"`
	Dropped  ring.PerReason[float64] `json:"dropped"`
	Sent     float64                 `json:"sent"`
}

// key identifies a socket, also across a restart of the server.
type key struct {
	peer   uint64
	id     uint32
	opened int64 // nanoseconds since 1970
}

func keyOf(s *attach.SocketStatus) key { return key{s.Peer.ID, s.ID, s.Opened.UnixNano()} }

// Compare returns a Report of now, with rates over the time since before, or without rates
// if before is zero.
//
// A counter that has decreased was reset to 0, and the counters of a socket opened since
// before started at 0. A socket that is older but missing in before has no rates.
func Compare(before, now attach.Status) *Report {
	r := &Report{Time: now.Time, Devices: []Device{}, Sockets: []Socket{}}
	if !before.Time.IsZero() {
		r.Interval = max(0, now.Time.Sub(before.Time).Seconds())
	}
	rate := func(before, now uint64) float64 {
		if now < before {
			before = 0
		}
		return float64(now-before) / r.Interval
	}

	devices := make(map[int]attach.DeviceStatus)
	for _, d := range before.Devices {
		devices[d.Index] = d
	}
	for _, d := range now.Devices {
		device := Device{DeviceStatus: d}
		if old, ok := devices[d.Index]; ok && r.Interval > 0 && old.Name == d.Name && len(d.Counters) > 0 {
			device.Rates = make(map[string]float64)
			for name, n := range d.Counters {
				device.Rates[name] = rate(old.Counters[name], n)
			}
		}
		r.Devices = append(r.Devices, device)
	}

	sockets := make(map[key]attach.SocketStatus)
	for _, s := range before.Sockets {
		sockets[keyOf(&s)] = s
	}
	for _, s := range now.Sockets {
		socket := Socket{SocketStatus: s}
		old, ok := sockets[keyOf(&s)]
		if r.Interval > 0 && (ok || !s.Opened.Before(before.Time)) {
			socket.Rates = &Rates{
				Offered:  rate(old.Offered, s.Offered),
				Filtered: rate(old.Filtered, s.Filtered),
				Captured: rate(old.Captured, s.Captured),
				Sent:     rate(old.Sent, s.Sent),
			}
			for why, n := range s.Dropped.All() {
				socket.Rates.Dropped[why] = rate(old.Dropped[why], n)
			}
		}
		r.Sockets = append(r.Sockets, socket)
	}
	return r
}

// History keeps past statuses, so that rates are measured over Window although statuses
// arrive more often. The zero value is ready to use.
type History struct {
	Window time.Duration // 0: from one status to the next
	past   []attach.Status
}

// Next returns a Report of the next status.
func (h *History) Next(now attach.Status) *Report {
	if n := len(h.past); n > 0 && !now.Time.After(h.past[n-1].Time) {
		h.past = nil // the server's clock was set back
	}
	// past[0] is the youngest status that is at least Window old.
	for len(h.past) > 1 && now.Time.Sub(h.past[1].Time) >= h.Window {
		h.past = h.past[1:]
	}
	var before attach.Status
	if len(h.past) > 0 {
		before = h.past[0]
	}
	h.past = append(h.past, now)
	return Compare(before, now)
}

package top

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/fleet"
	"github.com/rxring/rxring/ring"
)

// discoverInterval is the time between searches for hosts.
const discoverInterval = 10 * time.Second

// Host is a host of a fleet.
type Host struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"` // why it is not known what the host has; "": it is known
}

// fleetSource is a Source that asks the hosts of a fleet. A session is a socket of its device, and
// what the session's ring dropped is dropped because the ring was full. Its methods, except Close,
// must not be called concurrently.
type fleetSource struct {
	nc    *nats.Conn
	query fleet.Query
	close sync.Once

	hosts    []fleet.Host
	found    time.Time // when hosts were searched for
	latest   []fleet.HostStatus
	sessions map[key]*fleet.SessionStatus // of latest
}

// NewFleet returns a Source of the sessions that the hosts of q have. It closes nc.
func NewFleet(nc *nats.Conn, q fleet.Query) Source { return &fleetSource{nc: nc, query: q} }

func (f *fleetSource) Close() error {
	f.close.Do(f.nc.Close)
	return nil
}

func (f *fleetSource) Status(ctx context.Context) (st attach.Status, err error) {
	if !f.nc.IsConnected() && !f.nc.IsClosed() {
		return st, errors.New("there is no connection to the NATS server: trying to reconnect")
	}
	if err := f.discover(ctx); err != nil {
		return st, err
	}
	if f.latest, err = fleet.Status(ctx, f.nc, f.query, f.hosts); err != nil {
		return st, err
	}
	st = attach.Status{Time: time.Now(), Devices: []attach.DeviceStatus{}, Sockets: []attach.SocketStatus{}}
	f.sessions = make(map[key]*fleet.SessionStatus)
	for i := range f.latest {
		f.add(&st, &f.latest[i])
	}
	return st, nil
}

// discover searches for hosts from time to time. Those that are missing stay.
func (f *fleetSource) discover(ctx context.Context) error {
	if time.Since(f.found) < discoverInterval {
		return nil
	}
	hosts, err := fleet.Discover(ctx, f.nc, f.query)
	if err != nil && f.hosts == nil {
		return err
	}
	f.found = time.Now()
	for _, h := range hosts {
		i := slices.IndexFunc(f.hosts, func(known fleet.Host) bool { return known.Name == h.Name })
		if i < 0 {
			f.hosts = append(f.hosts, h)
		} else if h.Err == nil { // those that were known stay
			f.hosts[i] = h
		}
	}
	slices.SortFunc(f.hosts, func(a, b fleet.Host) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

// add adds a host's devices and sessions.
func (f *fleetSource) add(st *attach.Status, h *fleet.HostStatus) {
	if h.Err != nil { // its devices are the last known ones
		i := slices.IndexFunc(f.hosts, func(known fleet.Host) bool { return known.Name == h.Name })
		for _, d := range f.hosts[i].Devices {
			s := describeDevice(h.Name, d)
			s.Up, s.Source = false, "host "+h.Name+": "+h.Err.Error()
			st.Devices = append(st.Devices, s)
		}
		return
	}
	for _, d := range h.Devices {
		s := describeDevice(h.Name, d)
		s.Counters = map[string]uint64{"published_bytes": 0, "lost_before_device": 0, "lost_far_ring": 0, "lost_transit": 0}
		for _, session := range h.Sessions {
			if session.Device == d.Name {
				s.Counters["published_bytes"] += session.Bytes
				s.Counters["lost_before_device"] += session.Lost
				s.Counters["lost_far_ring"] += session.Dropped
				s.Counters["lost_transit"] += lostInTransit(&session)
			}
		}
		for _, r := range h.Recordings {
			if r.Device == d.Name {
				s.Counters["recorded_packets"] += r.Packets
				s.Counters["lost_recording"] += r.Dropped + r.Lost
			}
		}
		st.Devices = append(st.Devices, s)
	}
	for i := range h.Sessions {
		session := &h.Sessions[i]
		socket := attach.SocketStatus{
			Peer:   attach.Peer{ID: hash(h.Name, session.Session)},
			Opened: session.Opened, Device: h.Name + "/" + session.Device, Filter: session.Instructions,
			Offered: session.Offered, Captured: session.Packets,
		}
		socket.Dropped[ring.Full], socket.Dropped[ring.Lost] = session.Dropped, session.Lost
		f.sessions[keyOf(&socket)] = session
		st.Sockets = append(st.Sockets, socket)
	}
}

// describeDevice returns the status of a host's device. Its index is the same in each status.
func describeDevice(host string, d fleet.Device) attach.DeviceStatus {
	st := attach.DeviceStatus{Index: int(uint32(hash(host, d.Name))), Name: host + "/" + d.Name, Type: attach.TypeName(d.Type), MTU: d.MTU, Up: d.Up}
	for _, p := range d.Prefixes {
		st.Addrs = append(st.Addrs, p.String())
	}
	return st
}

func hash(words ...string) uint64 {
	h := fnv.New64a()
	for _, w := range words {
		h.Write([]byte(w))
		h.Write([]byte{0})
	}
	return h.Sum64()
}

// describe adds what a report has of a fleet only.
func (f *fleetSource) describe(r *Report) {
	r.Hosts = []Host{}
	for _, h := range f.latest {
		host := Host{Name: h.Name}
		if h.Err != nil {
			host.Error = h.Err.Error()
		}
		r.Hosts = append(r.Hosts, host)
	}
	for i := range r.Sockets {
		r.Sockets[i].Session = f.sessions[keyOf(&r.Sockets[i].SocketStatus)]
	}
}

// lostInTransit is what the readers of a session say that they have lost together.
func lostInTransit(s *fleet.SessionStatus) (n uint64) {
	for _, r := range s.Readers {
		n += r.Transit
	}
	return n
}

// describeReaders names the readers of a session.
func describeReaders(s *fleet.SessionStatus) string {
	if len(s.Readers) == 0 {
		return "(none)"
	}
	text := clean(s.Readers[0].User)
	if s.ReaderCount > 1 {
		text += fmt.Sprintf(" and %d more", s.ReaderCount-1)
	}
	return text
}

// wholePacket is the snapshot length of tcpdump's that truncates nothing.
const wholePacket = 262144

// session returns the lines of a session below that of its rates.
func (s *screen) session(r *Socket) []string {
	session := r.Session
	var transit []string
	for _, reader := range session.Readers {
		if reader.Transit > 0 {
			transit = append(transit, clean(reader.User)+" "+count(reader.Transit))
		}
	}
	losses := fmt.Sprintf("lost: before the device %s, in the host's ring %s, in transit %s",
		count(session.Lost), count(session.Dropped), count(lostInTransit(session)))
	if transit != nil {
		losses += " (" + strings.Join(transit, ", ") + ")"
	}
	if lost := session.Lost + session.Dropped + lostInTransit(session); lost > 0 {
		losses = s.colors.alarm.Styled(losses)
	}
	filter := "no filter"
	if session.Instructions > 0 {
		filter = "filter of " + plural(session.Instructions, "instruction")
	}
	if session.Snaplen > 0 && session.Snaplen < wholePacket {
		filter += fmt.Sprintf(", %d bytes of each packet", session.Snaplen)
	}
	return []string{
		"    " + losses,
		"    " + fmt.Sprintf("class %s, %s, open for %s", clean(session.Class), filter, age(s.report.Time.Sub(r.Opened))),
		"    " + fmt.Sprintf("%s offered, %s published (%s batches, %s bytes)", count(session.Offered), count(session.Packets), count(session.Batches), count(session.Bytes)),
	}
}

package page

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/rxring/rxring/cmd/rxring/internal/top"
)

const sampleInterval = time.Second

// overview requests the namespace's status each second while a page shows it.
type overview struct {
	server *Server

	mu       sync.Mutex
	watchers map[*watcher]struct{}
	stop     context.CancelFunc // of the sampler; nil: it does not run
	history  []sample
	latest   []byte    // the last event; nil: none
	shown    *snapshot // of latest
}

// watcher is a page that shows the overview.
type watcher struct {
	news chan []byte // holds the latest event that the page has not received
	lost int         // events that were replaced by later ones
}

// snapshot is an event of the overview.
type snapshot struct {
	Time    time.Time    `json:"time"`
	Error   string       `json:"error,omitempty"` // there is nothing else then
	Hosts   []top.Host   `json:"hosts,omitempty"` // of a fleet
	Devices []top.Device `json:"devices"`
	Sockets []reader     `json:"sockets"`
	Sample  sample       `json:"sample"`
}

// reader is a socket, and what to do about its losses.
type reader struct {
	top.Socket
	Key    string `json:"key"`  // as in a sample
	Page   bool   `json:"page"` // it is a page's own
	Losses []loss `json:"losses"`
}

// sample are the rates of a second, for charts.
type sample struct {
	Time    float64            `json:"t"` // seconds since 1970
	Devices map[string]float64 `json:"devices"`
	Sockets map[string]rates   `json:"sockets"`
}

// rates are those of a socket, in packets per second.
type rates struct {
	Captured float64            `json:"captured"`
	Filtered float64            `json:"filtered"`
	Dropped  map[string]float64 `json:"dropped,omitempty"` // by reason; those that are 0 are left out
}

func newOverview(s *Server) *overview {
	return &overview{server: s, watchers: make(map[*watcher]struct{})}
}

// watch adds a page. The first starts the sampler.
func (o *overview) watch() *watcher {
	w := &watcher{news: make(chan []byte, 1)}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.latest != nil && o.stop != nil {
		w.news <- o.latest
	}
	o.watchers[w] = struct{}{}
	if o.stop == nil {
		var ctx context.Context
		ctx, o.stop = context.WithCancel(o.server.ctx)
		o.server.wg.Go(func() { o.run(ctx) })
	}
	return w
}

// leave removes a page. The last stops the sampler.
func (o *overview) leave(w *watcher) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.watchers, w)
	if len(o.watchers) == 0 {
		o.stop()
		o.stop = nil
	}
}

// run samples until ctx ends. It is attached meanwhile.
func (o *overview) run(ctx context.Context) {
	tick := time.NewTicker(sampleInterval)
	defer tick.Stop()
	var samplers []*top.Sampler
	done := func() {}
	defer func() { done() }()
	for ctx.Err() == nil {
		var r *top.Report
		var err error
		if samplers == nil {
			samplers, done, err = o.open(ctx)
		}
		if err == nil {
			r, err = nextReport(ctx, samplers)
		}
		if err != nil {
			o.publish(ctx, &snapshot{Time: time.Now(), Error: err.Error()})
		} else {
			o.publish(ctx, newSnapshot(r))
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// open attaches, and returns the samplers of the page's namespace and, with Config.Fleet, of the
// fleet's hosts, until done is called. After an error there are none.
func (o *overview) open(ctx context.Context) (all []*top.Sampler, done func(), err error) {
	_, release, err := o.server.conn.acquire(ctx)
	if err != nil {
		return nil, func() {}, err
	}
	all = []*top.Sampler{{Source: o.server.conn}}
	if o.server.config.Fleet == nil {
		return all, release, nil
	}
	f, err := o.server.config.Fleet()
	if err != nil {
		release()
		return nil, func() {}, err
	}
	return append(all, &top.Sampler{Source: f}), func() { f.Close(); release() }, nil
}

// nextReport returns the first sampler's report, with the sockets and hosts of the others.
func nextReport(ctx context.Context, samplers []*top.Sampler) (*top.Report, error) {
	var all *top.Report
	for _, s := range samplers {
		r, err := s.Next(ctx)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = r
			continue
		}
		all.Sockets = append(all.Sockets, r.Sockets...)
		all.Hosts = append(all.Hosts, r.Hosts...)
	}
	return all, nil
}

// newSnapshot returns the event of a report.
func newSnapshot(r *top.Report) *snapshot {
	s := &snapshot{Time: r.Time, Hosts: r.Hosts, Devices: r.Devices, Sockets: []reader{}}
	s.Sample = sample{Time: float64(r.Time.UnixMilli()) / 1e3, Devices: make(map[string]float64), Sockets: make(map[string]rates)}
	for _, socket := range r.Sockets {
		key := fmt.Sprintf("%d/%d/%d", socket.Peer.ID, socket.ID, socket.Opened.Unix())
		s.Sockets = append(s.Sockets, reader{socket, key, socket.Peer.PID == os.Getpid(), losses(&socket)})
		if socket.Rates == nil {
			continue
		}
		s.Sample.Devices[socket.Device] = max(s.Sample.Devices[socket.Device], socket.Rates.Offered)
		if len(s.Sample.Sockets) == maxCharts {
			continue
		}
		v := rates{Captured: socket.Rates.Captured, Filtered: socket.Rates.Filtered}
		for why, n := range socket.Rates.Dropped.All() {
			if n > 0 {
				if v.Dropped == nil {
					v.Dropped = make(map[string]float64)
				}
				v.Dropped[why.Name()] = n
			}
		}
		s.Sample.Sockets[key] = v
	}
	return s
}

// publish sends a snapshot to all pages. A page that has not received the last one receives
// this one in its place.
func (o *overview) publish(ctx context.Context, s *snapshot) {
	data, err := json.Marshal(s)
	if err != nil {
		o.server.config.Log.Error("page", "err", err)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	o.latest, o.shown = data, s
	if s.Error == "" {
		if o.history = append(o.history, s.Sample); len(o.history) > historyLen {
			o.history = o.history[1:]
		}
	}
	for w := range o.watchers {
		select {
		case <-w.news:
			w.lost++
		default:
		}
		w.news <- data
	}
}

// lostBy returns how many events a page has missed.
func (o *overview) lostBy(w *watcher) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return w.lost
}

// serveOverview sends the history, then an event each second.
func (s *Server) serveOverview(w http.ResponseWriter, r *http.Request) {
	events := newEventStream(w)
	if !s.streams.enter() {
		events.refuse(tooManyPages)
		return
	}
	defer s.streams.leave()
	watcher := s.overview.watch()
	defer s.overview.leave(watcher)
	sent, lost := false, 0
	for {
		select {
		case <-r.Context().Done():
			return
		case data := <-watcher.news:
			if !sent && events.sendJSON("history", s.overview.samples()) != nil {
				return
			}
			sent = true
			if events.send("snapshot", data) != nil {
				return
			}
		}
		if n := s.overview.lostBy(watcher); n != lost {
			lost = n
			if events.send("missed", fmt.Appendf(nil, "%d", lost)) != nil {
				return
			}
		}
	}
}

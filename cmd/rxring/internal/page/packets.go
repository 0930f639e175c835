package page

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/cmd/rxring/internal/line"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/tap"
)

const (
	// rowInterval is the time between two events with rows.
	rowInterval = 100 * time.Millisecond
	// rowRate is how many rows an event may have in the long run: 10,000 a second. Further
	// packets are counted.
	rowRate = 1000
	// rowBurst is how many it may have after events with fewer rows.
	rowBurst = 10 * rowRate
	// countInterval is the time between two events with counts, in rowIntervals.
	countInterval = 5
)

const tableClosed = "this table is closed: reload the page"

const tooManyPages = "As many pages are open as are allowed (16): close one, and reload this one."

// streams are the pages that receive events.
type streams struct {
	mu     sync.Mutex
	open   int
	tables map[string]*table // by ID
}

func newStreams() *streams { return &streams{tables: make(map[string]*table)} }

// enter counts a page, or returns false if there are too many.
func (s *streams) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == maxStreams {
		return false
	}
	s.open++
	return true
}

func (s *streams) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

// table is the live table of a page.
type table struct {
	id      string
	tap     *tap.Tap
	request request
	events  *eventStream
	liner   *line.Liner
	keeper  keeper
	counts  counts
	rows    []row
	room    int // for further rows
}

// row is a packet in a table.
type row struct {
	Number   uint64 `json:"n"`
	Time     int64  `json:"t"` // microseconds since 1970
	Outgoing bool   `json:"o,omitempty"`
	Length   int    `json:"l"`
	line.Columns
}

// counts are those of a table since it was opened, in packets.
type counts struct {
	Received uint64 `json:"received"`
	Shown    uint64 `json:"shown"`   // sent as rows
	Skipped  uint64 `json:"skipped"` // there were more than 10,000 a second
	Paused   uint64 `json:"paused"`  // received while the table was paused
	Dropped  uint64 `json:"dropped"` // the page was slow: its ring was full
	Lost     uint64 `json:"lost"`    // lost before the device
}

func (s *streams) add(t *table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables[t.id] = t
}

func (s *streams) remove(t *table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tables, t.id)
}

func (s *streams) table(id string) *table {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tables[id]
}

// servePackets captures a device and sends its packets as rows until the page is closed.
func (s *Server) servePackets(w http.ResponseWriter, r *http.Request) {
	events := newEventStream(w)
	if !s.streams.enter() {
		events.refuse(tooManyPages)
		return
	}
	defer s.streams.leave()
	q := r.URL.Query()
	var memory rxring.Charge
	if err := memory.Replace(s.config.Budget, keptBytes); err != nil { // released last, after the table
		events.refuse(fmt.Sprintf("memory for the packets of a table: %v: close another page, or raise max_memory in the rule of the page", err))
		return
	}
	defer memory.Release()
	client, release, err := s.conn.acquire(r.Context())
	if err != nil {
		events.refuse(err.Error())
		return
	}
	defer release()
	names, err := deviceNames(client)
	if err != nil {
		events.refuse(err.Error())
		return
	}
	if events.sendJSON("devices", names) != nil {
		return
	}
	c := request{q.Get("device"), q.Get("filter"), maxShown}
	tap, err := openTap(client, c)
	if err != nil {
		events.refuseField(err)
		return
	}
	defer tap.Close()
	t := &table{id: rand.Text(), tap: tap, request: c, events: events, liner: line.New(tap.LinkType())}
	s.streams.add(t)
	defer s.streams.remove(t)
	if events.sendJSON("table", t.id) != nil {
		return
	}
	if err := t.run(r.Context()); r.Context().Err() == nil {
		t.sendCounts()
		events.refuse(ended(err))
	}
}

// run sends rows until there is an error, such as that of ctx.
func (t *table) run(ctx context.Context) error {
	for n := 0; ; n++ {
		t.room = min(t.room+rowRate, rowBurst)
		if err := t.collect(ctx, time.Now().Add(rowInterval)); err != nil {
			return err
		}
		if err := t.sendRows(); err != nil {
			return err
		}
		if n%countInterval == 0 {
			if err := t.sendCounts(); err != nil {
				return err
			}
		}
	}
}

// collect receives packets until a time.
func (t *table) collect(ctx context.Context, until time.Time) error {
	t.tap.SetDeadline(until)
	for i := 1; ; i++ {
		p, ok, err := t.tap.Next(ctx)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		if ok {
			t.add(&p)
		}
		if i%checkInterval == 0 && time.Now().After(until) { // while packets are ready, Next does not notice
			return nil
		}
	}
}

// checkInterval is the number of packets between two looks at the clock.
const checkInterval = 64

// add adds a packet to the rows, or counts it.
func (t *table) add(p *capfile.Packet) {
	t.counts.Received++
	if t.room == 0 {
		t.counts.Skipped++
		return
	}
	number, ok := t.keeper.add(p)
	if !ok {
		t.counts.Paused++
		return
	}
	t.room--
	t.counts.Shown++
	t.rows = append(t.rows, row{number, p.Timestamp / 1e3, p.Direction == capfile.Outbound, p.Len, t.liner.Columns(p.Data)})
}

func (t *table) sendRows() error {
	if len(t.rows) == 0 {
		return nil
	}
	err := t.events.sendJSON("rows", t.rows)
	t.rows = t.rows[:0]
	return err
}

func (t *table) sendCounts() error {
	st := t.tap.Stats()
	t.counts.Dropped, t.counts.Lost = st.Dropped, st.Lost
	return t.events.sendJSON("counts", &t.counts)
}

// servePause pauses a table (on=true), or ends that.
func (s *Server) servePause(w http.ResponseWriter, r *http.Request) {
	t := s.streams.table(r.PathValue("stream"))
	on, err := strconv.ParseBool(r.URL.Query().Get("on"))
	switch {
	case t == nil:
		http.Error(w, tableClosed, http.StatusNotFound)
	case err != nil:
		http.Error(w, "on: want true or false", http.StatusBadRequest)
	default:
		t.keeper.pause(on)
		w.WriteHeader(http.StatusNoContent)
	}
}

package page

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/tap"
)

// Limits of a download.
const (
	maxTakePackets = 1_000_000
	maxTakeSeconds = 3600
	// takeFlush is the longest time for which a packet waits for others.
	takeFlush = 500 * time.Millisecond
	// takeWriteTime limits how long a browser may receive nothing.
	takeWriteTime = 30 * time.Second
)

// takeLimits is when a download ends; 0: not for that reason.
type takeLimits struct {
	packets uint64
	time    time.Duration
}

func parseTake(q url.Values) (l takeLimits, err error) {
	number := func(name string, most uint64) uint64 {
		text := q.Get(name)
		if text == "" || err != nil {
			return 0
		}
		n, parseErr := strconv.ParseUint(text, 10, 64)
		if parseErr != nil || n == 0 || n > most {
			err = fmt.Errorf("%s %q: want 1 to %d", name, text, most)
		}
		return n
	}
	l.packets = number("packets", maxTakePackets)
	l.time = time.Duration(number("seconds", maxTakeSeconds)) * time.Second
	if err == nil && l == (takeLimits{}) {
		err = fmt.Errorf("want packets (1 to %d), seconds (1 to %d), or both", maxTakePackets, maxTakeSeconds)
	}
	return l, err
}

// serveTake sends the next packets of a device as pcapng.
func (s *Server) serveTake(w http.ResponseWriter, r *http.Request) {
	done, ok := s.beginTake(w)
	if !ok {
		return
	}
	defer done()
	q := r.URL.Query()
	limits, err := parseTake(q)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c := request{q.Get("device"), q.Get("filter"), 0}
	tap, release, err := s.conn.open(r.Context(), c)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer release()
	defer tap.Close()
	t := newTake(w, tap, c.device)
	t.limits = limits
	if err := t.run(r.Context(), w, c); err != nil {
		panic(http.ErrAbortHandler) // the browser notices that the file is not whole
	}
}

// beginTake counts a download until done is called, or refuses it if there are too many.
func (s *Server) beginTake(w http.ResponseWriter) (done func(), ok bool) {
	select {
	case s.takes <- struct{}{}:
		return func() { <-s.takes }, true
	default:
		http.Error(w, fmt.Sprintf("%d downloads are in progress, the most that are allowed: wait for one, or cancel it", maxTakes), http.StatusServiceUnavailable)
		return nil, false
	}
}

var unsafeInNames = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// take is a download.
type take struct {
	tap     *tap.Tap
	control *http.ResponseController
	file    *capfile.Writer
	limits  takeLimits
	packets uint64
}

// newTake sets the header of the answer.
func newTake(w http.ResponseWriter, tap *tap.Tap, device string) *take {
	w.Header().Set("Content-Type", "application/x-pcapng")
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-%s.pcapng"`, unsafeInNames.ReplaceAllString(device, "_"), time.Now().UTC().Format("20060102-150405")))
	t := &take{tap: tap, control: http.NewResponseController(w)}
	t.control.SetReadDeadline(time.Time{}) // the server's ReadTimeout is for requests
	return t
}

// begin writes what precedes the packets, and returns the interface's number.
func (t *take) begin(w io.Writer, c request) (id int, err error) {
	if t.file, err = capfile.NewWriter(w, capfile.Section{Application: "rxring"}); err != nil {
		return 0, err
	}
	return t.file.AddInterface(capfile.Interface{Name: c.device, Filter: c.filter, LinkType: t.tap.LinkType(), SnapLen: uint32(t.tap.Snaplen())})
}

// run writes the file. The statistics at its end have the packets that were dropped.
func (t *take) run(ctx context.Context, w http.ResponseWriter, c request) (err error) {
	begin := time.Now()
	id, err := t.begin(w, c)
	if err != nil {
		return err
	}
	if err := t.receive(ctx, id, begin); err != nil {
		return err
	}
	st := t.tap.Stats()
	end := time.Now().UnixNano()
	received, dropped := st.Offered, st.Dropped+st.Lost
	if err := t.file.WriteStats(id, capfile.Stats{Time: end, Start: begin.UnixNano(), End: end, Received: &received, Dropped: &dropped}); err != nil {
		return err
	}
	return t.flush()
}

// receive writes packets until a limit is reached or the device is down.
func (t *take) receive(ctx context.Context, id int, begin time.Time) error {
	flushed := begin
	for {
		until := flushed.Add(takeFlush)
		end := begin.Add(t.limits.time)
		if t.limits.time > 0 && end.Before(until) {
			until = end
		}
		if !t.tap.Ready() {
			t.tap.SetDeadline(until)
		}
		p, ok, err := t.tap.Next(ctx)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil: // what was received so far is a whole file
			return nil
		case ok:
			if err := t.write(id, &p); err != nil {
				return err
			}
			if t.packets++; t.packets == t.limits.packets {
				return nil
			}
		}
		now := time.Now()
		if t.limits.time > 0 && !now.Before(end) {
			return nil
		}
		if !now.Before(until) {
			if err := t.flush(); err != nil {
				return err
			}
			flushed = now
		}
	}
}

func (t *take) write(id int, p *capfile.Packet) error {
	return t.file.WriteCommented(id, p.Timestamp, p.Len, p.Data, p.Direction, p.Comment)
}

func (t *take) flush() error {
	t.control.SetWriteDeadline(time.Now().Add(takeWriteTime))
	if err := t.file.Flush(); err != nil {
		return err
	}
	return t.control.Flush()
}

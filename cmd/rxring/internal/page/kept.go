package page

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/rxring/rxring/source/file/capfile"
)

// serveKept sends the packets that a table has kept as pcapng.
func (s *Server) serveKept(w http.ResponseWriter, r *http.Request) {
	t := s.streams.table(r.PathValue("stream"))
	if t == nil {
		http.Error(w, tableClosed, http.StatusNotFound)
		return
	}
	done, ok := s.beginTake(w)
	if !ok {
		return
	}
	defer done()
	if err := newTake(w, t.tap, t.request.device).runKept(r.Context(), w, t); err != nil {
		panic(http.ErrAbortHandler) // the browser notices that the file is not whole
	}
}

// keptFlush is the number of packets between two flushes.
const keptFlush = 256

// runKept writes the file. The packets are not copied before: one that the table replaces
// meanwhile is dropped, and the statistics at the end count it.
func (t *take) runKept(ctx context.Context, w io.Writer, from *table) error {
	id, err := t.begin(w, from.request)
	if err != nil {
		return err
	}
	number, next := from.keeper.span()
	received, dropped := next-number, uint64(0)
	for ; number < next; number++ {
		p, ok := from.keeper.get(number)
		if !ok {
			dropped++
			continue
		}
		if err := t.write(id, &p); err != nil {
			return err
		}
		if number%keptFlush != 0 {
			continue
		}
		if err := t.flush(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := t.file.WriteStats(id, capfile.Stats{Time: time.Now().UnixNano(), Received: &received, Dropped: &dropped}); err != nil {
		return err
	}
	return t.flush()
}

package serve

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/rxring/rxring/internal/printable"
)

func newLogger(w io.Writer, json bool, level slog.Leveler) *slog.Logger {
	if json {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// maxQueued limits the queued lines, in bytes.
const maxQueued = 1 << 20

// logQueue is an io.Writer that never blocks: a goroutine writes the lines to w, which may
// block. Lines that exceed maxQueued or cannot be written are dropped and counted, and a
// line reports their number as soon as one can be written. Its methods may be called
// concurrently.
type logQueue struct {
	w    io.Writer
	json bool
	wake chan struct{} // has a value if there may be a line, or the queue is closed
	done chan struct{} // closed when run has returned

	mu      sync.Mutex
	lines   []logLine
	bytes   int    // of lines
	dropped uint64 // since the last of lines
	total   uint64 // of all dropped lines
	closed  bool
}

type logLine struct {
	text    []byte
	dropped uint64 // lines that were dropped before this one
}

func newLogQueue(w io.Writer, json bool) *logQueue {
	q := &logQueue{w: w, json: json, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go q.run()
	return q
}

// Write adds a line, as slog's handlers write it. It never returns an error.
func (q *logQueue) Write(line []byte) (int, error) {
	if q.json { // text is quoted already
		line = printable.JSON(line)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.bytes+len(line) > maxQueued {
		q.dropped++
		q.total++
		return len(line), nil
	}
	q.lines = append(q.lines, logLine{bytes.Clone(line), q.dropped})
	q.bytes += len(line)
	q.dropped = 0
	q.signal()
	return len(line), nil
}

func (q *logQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// lost returns the number of dropped lines.
func (q *logQueue) lost() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}

// next returns the next line, or the number of lines dropped after the last one. ok is false
// if there is neither; end is true if the queue is closed, too.
func (q *logQueue) next() (line logLine, ok, end bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) == 0 {
		line.dropped, q.dropped = q.dropped, 0
		return line, line.dropped > 0, q.closed
	}
	line = q.lines[0]
	q.lines = q.lines[1:]
	q.bytes -= len(line.text)
	return line, true, false
}

// run writes the lines until the queue is closed and empty.
func (q *logQueue) run() {
	defer close(q.done)
	var unreported uint64 // dropped lines
	cut := false          // the last line was written in part
	write := func(text []byte) bool {
		if cut {
			text = append([]byte{'\n'}, text...)
		}
		n, err := q.w.Write(text)
		if n > 0 {
			cut = err != nil
		}
		return err == nil
	}
	for {
		line, ok, end := q.next()
		unreported += line.dropped
		if unreported > 0 && (ok || end) && write(q.note(unreported)) {
			unreported = 0
		}
		switch {
		case line.text != nil && (unreported > 0 || !write(line.text)):
			unreported++
			q.mu.Lock()
			q.total++
			q.mu.Unlock()
		case ok:
		case end:
			return
		default:
			<-q.wake
		}
	}
}

// note returns the line that reports n dropped lines.
func (q *logQueue) note(n uint64) []byte {
	var b bytes.Buffer
	newLogger(&b, q.json, slog.LevelWarn).Warn("lines of the log were lost: its reader was too slow, or it could not be written", "lines", n)
	return b.Bytes()
}

// flushTime is how long close waits for the log's reader.
const flushTime = 250 * time.Millisecond

// close writes the queued lines, for at most flushTime.
func (q *logQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.signal()
	q.mu.Unlock()
	select {
	case <-q.done:
	case <-time.After(flushTime):
	}
}

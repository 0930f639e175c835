// Package logqueue writes a log for programs that must not wait for the log's reader.
package logqueue

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/rxring/rxring/internal/printable"
)

// maxQueued limits the queued lines, in bytes.
const maxQueued = 1 << 20

// Queue is an io.Writer that never blocks: a goroutine writes the lines to w, which may
// block. Lines that exceed maxQueued or cannot be written are dropped and counted, and a
// line reports their number as soon as one can be written. Its methods may be called
// concurrently.
type Queue struct {
	w    io.Writer
	json bool
	wake chan struct{} // has a value if there may be a line, or the queue is closed
	done chan struct{} // closed when run has returned

	mu      sync.Mutex
	lines   []queuedLine
	bytes   int    // of lines
	dropped uint64 // since the last of lines
	total   uint64 // of all dropped lines
	closed  bool
}

type queuedLine struct {
	text    []byte
	dropped uint64 // lines that were dropped before this one
}

// New returns a Queue, whose lines are JSON or text. It must be closed.
func New(w io.Writer, json bool) *Queue {
	q := &Queue{w: w, json: json, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go q.run()
	return q
}

// Logger returns a logger that writes to the queue.
func (q *Queue) Logger(level slog.Leveler) *slog.Logger { return newLogger(q, q.json, level) }

func newLogger(w io.Writer, json bool, level slog.Leveler) *slog.Logger {
	if json {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// Write adds a line, as slog's handlers write it. It never returns an error.
func (q *Queue) Write(line []byte) (int, error) {
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
	q.lines = append(q.lines, queuedLine{bytes.Clone(line), q.dropped})
	q.bytes += len(line)
	q.dropped = 0
	q.signal()
	return len(line), nil
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Lost returns the number of dropped lines.
func (q *Queue) Lost() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total
}

// next returns the next line, or the number of lines dropped after the last one. ok is false
// if there is neither; end is true if the queue is closed, too.
func (q *Queue) next() (line queuedLine, ok, end bool) {
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
func (q *Queue) run() {
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
func (q *Queue) note(n uint64) []byte {
	var b bytes.Buffer
	newLogger(&b, q.json, slog.LevelWarn).Warn("lines of the log were lost: its reader was too slow, or it could not be written", "lines", n)
	return b.Bytes()
}

// flushTime is how long Close waits for the log's reader.
const flushTime = time.Second

// Close writes the queued lines, for a second at most.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.signal()
	q.mu.Unlock()
	select {
	case <-q.done:
	case <-time.After(flushTime):
	}
}

package progress

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Bar draws progress on one line of a terminal. One goroutine at a time may use it.
type Bar struct {
	w     io.Writer
	drawn time.Time
	line  string
}

// NewBar returns a bar on w, which must be a terminal: see [IsTerminal].
func NewBar(w io.Writer) *Bar { return &Bar{w: w} }

const (
	barWidth = 24
	barEvery = 100 * time.Millisecond
)

// Set draws the bar if it has changed, ten times a second at most. done is clamped to 0
// to 1, since a file may grow while it is read; NaN (0 of 0) counts as 0.
func (b *Bar) Set(what string, done float64) {
	if !(done > 0) {
		done = 0
	}
	done = min(done, 1)
	full := int(done * barWidth)
	line := fmt.Sprintf("[%s%s] %3.0f%% %s", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), done*100, what)
	if line == b.line || time.Since(b.drawn) < barEvery {
		return
	}
	b.line, b.drawn = line, time.Now()
	fmt.Fprintf(b.w, "\r\x1b[K%s", line)
}

// Clear removes the bar. Set draws it again.
func (b *Bar) Clear() {
	b.line = ""
	fmt.Fprint(b.w, "\r\x1b[K")
}

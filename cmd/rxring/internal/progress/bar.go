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

// Set draws the bar when it has changed, a few times a second at most. Of what is
// done, less than 0 is nothing and more than 1 is everything: a file may grow
// while it is read. It is nothing, too, where it is not a number: 0 of 0.
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

// Clear takes the bar away. Set draws it again.
func (b *Bar) Clear() {
	b.line = ""
	fmt.Fprint(b.w, "\r\x1b[K")
}

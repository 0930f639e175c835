package race

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Bar draws progress on one line of a terminal.
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

// Design is for [Config.Progress].
func (b *Bar) Design(d Contender, done float64) { b.Set(d.String(), done) }

// Set draws the bar when it has changed, a few times a second at most.
func (b *Bar) Set(what string, done float64) {
	full := int(done * barWidth)
	line := fmt.Sprintf("[%s%s] %3.0f%% %s", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), done*100, what)
	if line == b.line || time.Since(b.drawn) < barEvery {
		return
	}
	b.line, b.drawn = line, time.Now()
	fmt.Fprintf(b.w, "\r\x1b[K%s", line)
}

// Clear takes the bar away.
func (b *Bar) Clear() { fmt.Fprint(b.w, "\r\x1b[K") }

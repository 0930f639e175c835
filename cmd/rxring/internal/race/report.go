package race

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rxring/rxring/ring"
)

// Report is the result of a run. The names in its JSON are stable.
type Report struct {
	OK         bool       `json:"ok"` // no verdict is FAIL
	EndedEarly bool       `json:"ended_early"`
	Config     Parameters `json:"config"`
	Designs    []Outcome  `json:"designs"`
}

// Parameters is the Config that ran, defaults filled in.
type Parameters struct {
	Writers    int     `json:"writers"`
	Slots      int     `json:"slots"`
	FrameBytes int     `json:"frame_bytes"`
	SlowWriter float64 `json:"slow_writer"`
	Seconds    float64 `json:"seconds_per_design"`
	Processors int     `json:"processors"`
	Forced     bool    `json:"forced"` // hard enough that every fault must show
}

// Outcome is what one design showed.
type Outcome struct {
	Design         string     `json:"design"`
	Rounds         int        `json:"rounds"` // each with a fresh ring
	Offered        uint64     `json:"offered"`
	Accepted       uint64     `json:"accepted"`
	Dropped        ring.Drops `json:"dropped"` // by reason
	Read           uint64     `json:"read"`
	Torn           uint64     `json:"torn"`
	Repeated       uint64     `json:"repeated"` // read a second time
	Stuck          bool       `json:"stuck"`
	StuckRounds    int        `json:"stuck_rounds"`
	LostForNothing uint64     `json:"lost_for_nothing"` // of the dropped: no writer held the slot. Only what is proven
	Nanoseconds    float64    `json:"ns_per_packet"`    // one writer alone, 64 bytes
	Expected       string     `json:"expected"`
	Verdict        Verdict    `json:"verdict"`
	Tear           *Tear      `json:"tear,omitempty"` // one torn packet

	design Contender
}

// Tear is one torn packet, as the reader read it.
type Tear struct {
	Slot   int     `json:"slot"`
	Bytes  int     `json:"bytes"`
	Header Packet  `json:"header"` // the packet that the slot's header names
	Ranges []Range `json:"ranges"` // of its bytes, in order

	timeline timeline
}

// Packet names a packet: the writer and how many it had offered before.
type Packet struct {
	Writer int    `json:"writer"`
	Number uint64 `json:"number"`
}

func (p Packet) String() string { return fmt.Sprintf("writer %d's packet %d", p.Writer, p.Number) }

// Range is bytes From to To-1 of a packet and the packet that they belong to.
type Range struct {
	From int `json:"from"`
	To   int `json:"to"`
	Packet
	Nobody bool `json:"nobody,omitempty"` // no writer's: zeros, or written by two at once
}

func (r Range) String() string {
	whose := r.Packet.String()
	if r.Nobody {
		whose = "no writer's"
	}
	return fmt.Sprintf("bytes %d to %d are %s", r.From, r.To-1, whose)
}

func (t *Tear) String() string {
	return fmt.Sprintf("slot %d, header of %v: %s", t.Slot, t.Header, t.ranges())
}

// ranges says which packets the bytes belong to.
func (t *Tear) ranges() string {
	const most = 6
	var s []string
	for _, r := range t.Ranges[:min(len(t.Ranges), most)] {
		s = append(s, r.String())
	}
	if more := len(t.Ranges) - most; more > 0 {
		s = append(s, count(more, "range")+" more")
	}
	return strings.Join(s, ", ")
}

// WriteText writes the report as a table, and a line for each design that tore.
func (r *Report) WriteText(w io.Writer) error {
	fmt.Fprintln(w, r.Config)
	if r.EndedEarly {
		fmt.Fprintln(w, "ended early: the results so far")
	}
	fmt.Fprintln(w)
	rows := [][]string{columns}
	for _, o := range r.Designs {
		rows = append(rows, o.cells())
	}
	if err := writeTable(w, rows); err != nil {
		return err
	}
	for _, o := range r.Designs {
		if o.Tear != nil {
			fmt.Fprintf(w, "\n%s, one of the torn packets: %v\n", o.Design, o.Tear)
		}
	}
	return nil
}

func (p Parameters) String() string {
	return fmt.Sprintf("%s on %s, %s of %d bytes, %.3g%% slow in mid-copy, %v a design",
		count(p.Writers, "writer"), count(p.Processors, "processor"), count(p.Slots, "slot"), p.FrameBytes,
		p.SlowWriter*100, time.Duration(p.Seconds*float64(time.Second)))
}

// Failed names the designs that did not do what is expected of them.
func (r *Report) Failed() (names []string) {
	for _, o := range r.Designs {
		if o.Verdict == Failed {
			names = append(names, o.Design)
		}
	}
	return names
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

var columns = []string{"design", "offered", "accepted", "torn", "stuck", "lost for nothing", "ns a packet", "expected", "verdict"}

// isWords says which columns hold words, and are flush left.
func isWords(column int) bool { return column == 0 || column >= len(columns)-2 }

func writeTable(w io.Writer, rows [][]string) error {
	widths := make([]int, len(columns))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			width := widths[i]
			if isWords(i) {
				width = -width
			}
			fmt.Fprintf(&line, "%*s  ", width, cell)
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

func (o *Outcome) cells() []string {
	stuck := "no"
	if o.Stuck {
		stuck = "yes"
	}
	return []string{o.Design, fmt.Sprint(o.Offered), fmt.Sprint(o.Accepted), fmt.Sprint(o.Torn), stuck,
		fmt.Sprint(o.LostForNothing), fmt.Sprintf("%.0f", o.Nanoseconds), o.Expected, string(o.Verdict)}
}

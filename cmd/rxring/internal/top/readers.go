package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/rxring/rxring/ring"
)

// Columns of a reader's first line.
const (
	markWidth     = 2
	deviceWidth   = 11
	rateWidth     = 11
	leastNameWide = 12
	mostNameWide  = 44
)

// column is a column of rates. Where there is no room for all, those of least weight are
// left out.
type column struct {
	title  string
	of     func(*Rates) float64
	weight int
	alarm  bool // highlighted unless it is 0
}

var columns = []column{
	{"OFFERED/s", func(r *Rates) float64 { return r.Offered }, 2, false},
	{"CAPTURED/s", func(r *Rates) float64 { return r.Captured }, 3, false},
	{"FILTERED/s", func(r *Rates) float64 { return r.Filtered }, 1, false},
	{"DROPPED/s", func(r *Rates) float64 { return r.Dropped.Sum() }, 4, true},
}

// columns returns the columns that there is room for, at least one.
func (s *screen) columns() (some []column) {
	if s.width == 0 {
		return columns
	}
	n := min(max(1, (s.width-markWidth-leastNameWide-deviceWidth)/rateWidth), len(columns))
	for _, c := range columns {
		if c.weight > len(columns)-n {
			some = append(some, c)
		}
	}
	return some
}

// nameWidth returns the width that the other columns leave for the reader's name.
func (s *screen) nameWidth() int {
	if s.width == 0 {
		n := leastNameWide
		for i := range s.report.Sockets {
			n = max(n, fits(describeReader(&s.report.Sockets[i])))
		}
		return n
	}
	return min(max(s.width-markWidth-deviceWidth-len(s.columns())*rateWidth, leastNameWide), mostNameWide)
}

// deviceWidth returns the width of the column of readers' devices.
func (s *screen) deviceWidth() int {
	n := deviceWidth
	if s.width == 0 {
		for i := range s.report.Sockets {
			n = max(n, fits(s.report.Sockets[i].Device))
		}
	}
	return n
}

// readerColumns are the columns of readers' first lines.
type readerColumns struct {
	name, device int // widths
	rates        []column
}

func (s *screen) readerColumns() readerColumns {
	return readerColumns{s.nameWidth(), s.deviceWidth(), s.columns()}
}

// readers returns the lines of as many readers as fit into room lines, always with the
// selected one; room 0: of all.
func (s *screen) readers(room int) []string {
	sockets := sorted(s.report.Sockets, s.order)
	if len(sockets) == 0 {
		device := "DEVICE"
		if len(s.report.Devices) > 0 {
			device = clean(s.report.Devices[0].Name)
		}
		if s.report.Hosts != nil {
			return []string{"  No readers. Try:", "  rxring run --from " + clean(s.path) + " -- tcpdump -i any"}
		}
		return []string{"  No readers. Try:", "  rxring run --at " + clean(s.path) + " -- tcpdump -i " + device}
	}
	cols := s.readerColumns()
	heading := left("", markWidth) + left("READER", cols.name) + left("DEVICE", cols.device)
	for _, c := range cols.rates {
		heading += right(c.title, rateWidth)
	}
	heading = s.colors.title.Styled(heading)

	selected := s.selectedIn(sockets)
	first, last, spare := 0, len(sockets), room-1-compact*len(sockets) // 1: the heading
	if room > 0 && spare < 0 {
		space := room - 2 // also for the line that counts the readers left out
		n := max(1, space/compact)
		first = min(max(0, selected-n/2), len(sockets)-n)
		last = first + n
		spare = space - compact*n
	}
	blocks := make([][]string, 0, last-first)
	total := 1
	for i := first; i < last; i++ {
		blocks = append(blocks, s.reader(&sockets[i], cols, s.live && i == selected))
		total += len(blocks[i-first])
	}
	if room > 0 && (total > room || last-first < len(sockets)) {
		// The first lines of every reader, and as many of the selected one as there is room for.
		for i, b := range blocks {
			n := compact
			if first+i == selected {
				n += max(0, spare)
			}
			blocks[i] = b[:min(n, len(b))]
		}
	}
	lines := append([]string{heading}, slices.Concat(blocks...)...)
	switch above, below := first, len(sockets)-last; {
	case above > 0 && below > 0:
		lines = append(lines, fmt.Sprintf("  %d more above, %d below", above, below))
	case above > 0:
		lines = append(lines, fmt.Sprintf("  %d more above", above))
	case below > 0:
		lines = append(lines, fmt.Sprintf("  %d more below", below))
	}
	return lines
}

// selectedIn returns the index of the selected reader, 0 if it has gone.
func (s *screen) selectedIn(sockets []Socket) int {
	return max(0, slices.IndexFunc(sockets, func(r Socket) bool { return keyOf(&r.SocketStatus) == s.selected }))
}

// compact is the number of lines of a reader where there is no room for all of them.
const compact = 2

// reader returns a reader's lines: rates, ring, then the details that compact leaves out.
func (s *screen) reader(r *Socket, cols readerColumns, selected bool) []string {
	device := clean(r.Device)
	if device == "" {
		device = "all"
	}
	mark, name := "  ", left(describeReader(r), cols.name-1)
	if selected {
		mark, name = "> ", s.colors.selected.Styled(name)
	}
	first := mark + name + " " + left(device, cols.device-1) + " "
	for _, c := range cols.rates {
		switch {
		case r.Rates == nil:
			first += right("-", rateWidth)
		case c.alarm && c.of(r.Rates) > 0:
			first += s.colors.alarm.Styled(right(number(c.of(r.Rates)), rateWidth))
		default:
			first += right(number(c.of(r.Rates)), rateWidth)
		}
	}
	if r.Session != nil {
		return append([]string{first}, s.session(r)...)
	}
	return []string{first, s.ring(r), "    " + s.shape(r), "    " + totals(r), "    " + drops(r)}
}

// shape describes the socket: its ring, filter, age, and the frames that it sent.
func (s *screen) shape(r *Socket) string {
	text := "no ring"
	if ring := r.Ring; ring != nil {
		what := "slot"
		if ring.Version == "V3" {
			what = "block"
		}
		text = fmt.Sprintf("%s ring, %s of %s", clean(ring.Version), plural(int(ring.Slots), what), size(uint64(ring.SlotBytes)))
	}
	if r.Filter > 0 {
		text += ", filter of " + plural(r.Filter, "instruction")
	} else {
		text += ", no filter"
	}
	text += ", open for " + age(s.report.Time.Sub(r.Opened))
	if r.Sent > 0 {
		text += ", " + count(r.Sent) + " sent"
	}
	return text
}

// totals accounts for all packets offered.
func totals(r *Socket) string {
	return fmt.Sprintf("%s offered = %s captured + %s filtered + %s dropped",
		count(r.Offered), count(r.Captured), count(r.Filtered), count(r.SocketStatus.Dropped.Sum()))
}

// drops counts the packets dropped by reason.
func drops(r *Socket) string {
	var all []string
	for why, n := range r.SocketStatus.Dropped.All() {
		switch {
		case n == 0:
		case r.Rates != nil:
			all = append(all, fmt.Sprintf("%v %s (%s/s)", why, count(n), number(r.Rates.Dropped[why])))
		default:
			all = append(all, fmt.Sprintf("%v %s", why, count(n)))
		}
	}
	if len(all) == 0 {
		return "nothing dropped"
	}
	return "dropped: " + strings.Join(all, ", ")
}

// ring returns the line of the ring: the part that the reader holds, and the slots.
func (s *screen) ring(r *Socket) string {
	const indent = "    "
	if r.Ring == nil {
		if r.Queue > 0 {
			return indent + fmt.Sprintf("packets queued, the first has %d bytes", r.Queue)
		}
		return indent + "queue empty"
	}
	verdict := "    "
	if r.Rates != nil && r.Rates.Dropped[ring.Full] > 0 {
		verdict = "slow"
	}
	prefix := fmt.Sprintf("%3d%% held %s ", heldPercent(r.Ring), verdict)
	strip := strip(r.Ring, cmp.Or(s.width, defaultWidth)-len(indent)-len(prefix), s.colors)
	if verdict == "slow" {
		prefix = s.colors.alarm.Styled(prefix)
	}
	return indent + prefix + strip
}

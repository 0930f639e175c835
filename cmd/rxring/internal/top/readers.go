package top

import (
	"cmp"
	"fmt"
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

// column is one of rates. Those of less weight go when there is no room for all.
type column struct {
	title  string
	of     func(*Rates) float64
	weight int
	alarm  bool // when it is not 0
}

var columns = []column{
	{"OFFERED/s", func(r *Rates) float64 { return r.Offered }, 2, false},
	{"CAPTURED/s", func(r *Rates) float64 { return r.Captured }, 3, false},
	{"FILTERED/s", func(r *Rates) float64 { return r.Filtered }, 1, false},
	{"DROPPED/s", func(r *Rates) float64 { return r.Dropped.Sum() }, 4, true},
}

// columns are those that there is room for, one at least.
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

// nameWidth is what the other columns leave for who the reader is.
func (s *screen) nameWidth() int {
	if s.width == 0 {
		n := leastNameWide
		for i := range s.report.Sockets {
			n = max(n, fits(who(&s.report.Sockets[i])))
		}
		return n
	}
	return min(max(s.width-markWidth-deviceWidth-len(s.columns())*rateWidth, leastNameWide), mostNameWide)
}

// deviceWidth is the width of the column of readers' devices.
func (s *screen) deviceWidth() int {
	n := deviceWidth
	if s.width == 0 {
		for i := range s.report.Sockets {
			n = max(n, fits(s.report.Sockets[i].Device))
		}
	}
	return n
}

// readers draws as many readers as there is room for, and the selected one always;
// room 0: all.
func (s *screen) readers(room int) []string {
	sockets := sorted(s.report.Sockets, s.order)
	if len(sockets) == 0 {
		device := "DEVICE"
		if len(s.report.Devices) > 0 {
			device = clean(s.report.Devices[0].Name)
		}
		return []string{"  Nobody reads. Try:", "  rxring run --at " + clean(s.path) + " -- tcpdump -i " + device}
	}
	heading := left("", markWidth) + left("READER", s.nameWidth()) + left("DEVICE", s.deviceWidth())
	for _, c := range s.columns() {
		heading += right(c.title, rateWidth)
	}
	heading = s.colors.title.Styled(heading)

	selected := s.selectedIn(sockets)
	blocks := make([][]string, len(sockets))
	total := 1
	for i := range sockets {
		blocks[i] = s.reader(&sockets[i], s.live && i == selected)
		total += len(blocks[i])
	}
	if room == 0 || total <= room {
		return append([]string{heading}, concat(blocks)...)
	}

	// Of everybody the first lines, and of the selected one what there is room for.
	room-- // the heading
	first, last := 0, len(blocks)
	spare := room - compact*len(blocks)
	if spare < 0 {
		room-- // a line says what is missing
		n := max(1, room/compact)
		first = min(max(0, selected-n/2), len(blocks)-n)
		last = first + n
		spare = room - compact*n
	}
	for i, b := range blocks {
		n := compact
		if i == selected {
			n += max(0, spare)
		}
		blocks[i] = b[:min(n, len(b))]
	}
	lines := append([]string{heading}, concat(blocks[first:last])...)
	switch above, below := first, len(blocks)-last; {
	case above > 0 && below > 0:
		lines = append(lines, fmt.Sprintf("  %d more above, %d below", above, below))
	case above > 0:
		lines = append(lines, fmt.Sprintf("  %d more above", above))
	case below > 0:
		lines = append(lines, fmt.Sprintf("  %d more below", below))
	}
	return lines
}

func concat(blocks [][]string) (all []string) {
	for _, b := range blocks {
		all = append(all, b...)
	}
	return all
}

// selectedIn is where the selected reader is; if it has gone, the first one is.
func (s *screen) selectedIn(sockets []Socket) int {
	for i := range sockets {
		if keyOf(&sockets[i].SocketStatus) == s.selected {
			return i
		}
	}
	return 0
}

// compact is how many of a reader's lines there are when there is no room for all.
const compact = 2

// reader draws one reader: the rates, the ring, then what one may do without.
func (s *screen) reader(k *Socket, selected bool) []string {
	device := clean(k.Device)
	if device == "" {
		device = "all"
	}
	mark, name := "  ", left(who(k), s.nameWidth()-1)
	if selected {
		mark, name = "> ", s.colors.selected.Styled(name)
	}
	first := mark + name + " " + left(device, s.deviceWidth()-1) + " "
	for _, c := range s.columns() {
		switch {
		case k.Rates == nil:
			first += right("-", rateWidth)
		case c.alarm && c.of(k.Rates) > 0:
			first += s.colors.alarm.Styled(right(number(c.of(k.Rates)), rateWidth))
		default:
			first += right(number(c.of(k.Rates)), rateWidth)
		}
	}
	return []string{first, s.ring(k), "    " + s.shape(k), "    " + totals(k), "    " + drops(k)}
}

// shape is what the socket is: its ring, its filter, its age, what it sent.
func (s *screen) shape(k *Socket) string {
	text := "no ring"
	if r := k.Ring; r != nil {
		what := "slot"
		if r.Version == "V3" {
			what = "block"
		}
		text = fmt.Sprintf("%s ring, %s of %s", clean(r.Version), plural(int(r.Slots), what), size(uint64(r.SlotBytes)))
	}
	if k.Filter > 0 {
		text += ", filter of " + plural(k.Filter, "instruction")
	} else {
		text += ", no filter"
	}
	text += ", open for " + age(s.report.Time.Sub(k.Opened))
	if k.Sent > 0 {
		text += ", " + count(k.Sent) + " sent"
	}
	return text
}

// totals is what became of all packets.
func totals(k *Socket) string {
	return fmt.Sprintf("%s offered = %s captured + %s filtered + %s dropped",
		count(k.Offered), count(k.Captured), count(k.Filtered), count(k.Dropped.Sum()))
}

// drops is why packets were dropped.
func drops(k *Socket) string {
	r := k.Rates
	known := r != nil
	if !known {
		r = new(Rates)
	}
	var all []string
	for why, n := range k.Dropped.All() {
		switch {
		case n == 0:
		case known:
			all = append(all, fmt.Sprintf("%v %s (%s/s)", why, count(n), number(r.Dropped[why])))
		default:
			all = append(all, fmt.Sprintf("%v %s", why, count(n)))
		}
	}
	if len(all) == 0 {
		return "nothing dropped"
	}
	return "dropped: " + strings.Join(all, ", ")
}

// ring draws the slots, behind how much of them the reader holds.
func (s *screen) ring(k *Socket) string {
	const indent = "    "
	if k.Ring == nil {
		if k.Queue > 0 {
			return indent + fmt.Sprintf("packets wait in its queue, the first one of %d bytes", k.Queue)
		}
		return indent + "nothing waits in its queue"
	}
	verdict := "    "
	if k.Rates != nil && k.Rates.Dropped[ring.Full] > 0 {
		verdict = "slow"
	}
	prefix := fmt.Sprintf("%3d%% held %s ", withReader(k.Ring), verdict)
	strip := strip(k.Ring, cmp.Or(s.width, defaultWidth)-len(indent)-len(prefix), s.colors)
	if verdict == "slow" {
		prefix = s.colors.alarm.Styled(prefix)
	}
	return indent + prefix + strip
}

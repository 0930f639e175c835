package top

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/rxring/rxring/ring"
)

// screen is what there is to see.
type screen struct {
	path     string
	report   *Report // nil: there has been none
	trouble  string  // why there is no newer one
	paused   bool
	help     bool
	order    Order
	selected key  // of nobody: the first is
	width    int  // columns; 0: as many as the longest line needs
	height   int  // 0: as much as it takes
	live     bool // somebody sits before it, with keys
	colors   palette
}

const (
	leastReaders = 5  // lines that readers get before devices do
	legendHeight = 10 // lines from which on there is a legend
)

// lines draws it, in at most height lines of at most width columns.
func (s *screen) lines() []string {
	above := s.header()
	below := s.footer()
	if s.report != nil && !s.help {
		devices := s.devices()
		if s.height > 0 {
			room := min(s.height/3, s.height-len(above)-len(below)-leastReaders)
			devices = shorten(devices, room, "devices")
		}
		above = append(above, devices...)
	}
	room := 0
	if s.height > 0 {
		room = max(1, s.height-len(above)-len(below))
	}
	var middle []string
	switch {
	case s.help:
		middle = s.helpText()
	case s.report != nil:
		middle = s.readers(room)
	}
	if room > 0 {
		middle = middle[:min(len(middle), room)]
		for s.live && len(middle) < room {
			middle = append(middle, "") // the footer is at the bottom
		}
	}
	all := slices.Concat(above, middle, below)
	if s.height > 0 {
		all = all[:min(len(all), s.height)]
	}
	for i := range all {
		if s.width > 0 {
			all[i] = cut(all[i], s.width)
		}
		all[i] = strings.TrimRight(all[i], " ")
	}
	return all
}

// shorten is lines in at most room lines, the last of which says how many are
// missing.
func shorten(lines []string, room int, what string) []string {
	switch {
	case room < 2:
		return nil // a heading alone says nothing
	case len(lines) <= room:
		return lines
	}
	return append(slices.Clone(lines[:room-1]), fmt.Sprintf("  ... more %s, see rxring top --once", what))
}

func (s *screen) header() []string {
	title, clock := "rxring top  "+clean(s.path), ""
	if r := s.report; r != nil {
		title += "  " + plural(len(r.Devices), "device") + ", " + plural(len(r.Sockets), "reader")
		clock = r.Time.Local().Format(time.TimeOnly)
	}
	if s.paused {
		clock = "paused at " + clock
	}
	gap := s.width - ansi.StringWidth(title) - len(clock)
	if s.width == 0 {
		gap = 2
	}
	if gap < 1 { // a long path: its end says most
		title = ansi.TruncateLeft(title, 1-gap+len("..."), "...")
		gap = 1
	}
	lines := []string{s.colors.title.Styled(title+strings.Repeat(" ", gap)) + clock}
	if s.trouble != "" {
		for _, l := range wrap(clean(s.trouble), cmp.Or(s.width, math.MaxInt)) {
			lines = append(lines, s.colors.alarm.Styled(l))
		}
	}
	return lines
}

const ( // columns of devices; name and type at least
	deviceName = 12
	deviceType = 10
	stateWidth = 7
	mtuWidth   = 7
)

func (s *screen) devices() []string {
	name, typ := deviceName, deviceType
	if s.width == 0 {
		for _, d := range s.report.Devices {
			name, typ = max(name, fits(d.Name)), max(typ, fits(d.Type))
		}
	}
	lines := []string{s.colors.title.Styled("  " + left("DEVICE", name) + left("TYPE", typ) + left("STATE", stateWidth) + left("MTU", mtuWidth) + "SOURCE, ADDRESSES")}
	for _, d := range s.report.Devices {
		state := left("up", stateWidth)
		if !d.Up {
			state = s.colors.alarm.Styled(left("down", stateWidth))
		}
		about := append([]string{}, d.Addrs...)
		if d.Source != "" {
			about = append([]string{d.Source}, about...)
		}
		lines = append(lines, "  "+left(clean(d.Name), name-1)+" "+left(clean(d.Type), typ-1)+" "+
			state+left(fmt.Sprint(d.MTU), mtuWidth)+clean(strings.Join(about, ", ")))
		if text := counters(&d); text != "" {
			lines = append(lines, "    "+text)
		}
	}
	return append(lines, "")
}

// counters is a source's own counts.
func counters(d *Device) string {
	var all []string
	for name, n := range d.Counters {
		text := clean(strings.ReplaceAll(name, "_", " ")) + " " + count(n)
		if r, ok := d.Rates[name]; ok {
			text += " (" + number(r) + "/s)"
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// legend explains a strip.
func (s *screen) legend() string {
	p := s.colors
	return "  " + p.free.Styled(".") + " free  " + p.writing.Styled("w") + " being filled  " + p.reading.Styled("R") +
		" with the reader  " + p.head.Styled("|") + " the next packet goes here"
}

func (s *screen) footer() []string {
	var lines []string
	if (s.help || s.report != nil && len(s.report.Sockets) > 0) && (s.height == 0 || s.height >= legendHeight) {
		lines = append(lines, s.legend())
	}
	if s.live {
		pause := "p pause"
		if s.paused {
			pause = "p go on"
		}
		lines = append(lines, s.colors.faint.Styled("  q quit  "+pause+"  up/down select  s sort: "+s.order.String()+"  ? help"))
	}
	return lines
}

func (s *screen) helpText() []string {
	return strings.Split(`
  q, ctrl+c          quit
  p, space           pause, go on
  up, down, k, j     select a reader: when there is no room for everything
                     about all of them, there is for the selected one
  s                  sort by: when they were opened; drops; how much of its
                     ring the reader holds; packets captured
  ?                  this, and back

  Rates are packets a second, over the last second. A reader that drops packets
  because its ring is full is called slow. A drop of reason "`+ring.Owned.String()+`"
  is not the reader's fault: a slower writer was still filling the next slot.

  A strip is a ring's slots, or blocks, in their order. Of many slots that share
  a letter it is the one that is furthest from free.

  You see the readers of your own user, and all where the server grants it.
`, "\n")
}

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

// screen lays a report out as lines of text.
type screen struct {
	path     string
	report   *Report // nil: none yet
	trouble  string  // the error of the last request, "": none
	paused   bool
	help     bool
	order    Order
	selected key  // of a reader; if it has gone, the first is selected
	width    int  // columns; 0: as many as the longest line needs
	height   int  // lines; 0: as many as there are
	live     bool // interactive: it has a footer and a selection
	colors   palette
}

const (
	leastReaders = 5  // lines reserved for readers, before devices get any
	legendHeight = 10 // the lowest height, in lines, that has a legend
)

// lines returns at most height lines of at most width columns.
func (s *screen) lines() []string {
	above := s.header()
	below := s.footer()
	if s.report != nil && !s.help {
		if s.height == 0 {
			above = append(above, s.devices(0)...)
		} else {
			room := max(1, min(s.height/3, s.height-len(above)-len(below)-leastReaders))
			above = append(above, shorten(s.devices(room), room, "devices")...)
		}
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

// shorten returns at most room lines; if some are left out, the last one says so.
func shorten(lines []string, room int, what string) []string {
	switch {
	case room < 2:
		return nil // a heading alone is useless
	case len(lines) <= room:
		return lines
	}
	return append(slices.Clone(lines[:room-1]), fmt.Sprintf("  ... more %s, see rxring top --once", what))
}

func (s *screen) header() []string {
	title, clock := "rxring top  "+clean(s.path), ""
	if r := s.report; r != nil {
		title += "  "
		if r.Hosts != nil {
			title += plural(len(r.Hosts), "host") + ", "
		}
		title += plural(len(r.Devices), "device") + ", " + plural(len(r.Sockets), "reader")
		clock = r.Time.Local().Format(time.TimeOnly)
	}
	if s.paused {
		clock = "paused at " + clock
	}
	gap := s.width - ansi.StringWidth(title) - len(clock)
	if s.width == 0 {
		gap = 2
	}
	if gap < 1 { // of a long path the end identifies it best
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

// Widths of the columns of devices; those of name and type are minima.
const (
	deviceName = 12
	deviceType = 10
	stateWidth = 7
	mtuWidth   = 7
)

// devices returns the lines of all devices, or of the first if there are more than room lines;
// room 0: of all.
func (s *screen) devices(room int) []string {
	name, typ := deviceName, deviceType
	if s.width == 0 {
		for _, d := range s.report.Devices {
			name, typ = max(name, fits(d.Name)), max(typ, fits(d.Type))
		}
	}
	lines := []string{s.colors.title.Styled("  " + left("DEVICE", name) + left("TYPE", typ) + left("STATE", stateWidth) + left("MTU", mtuWidth) + "SOURCE, ADDRESSES")}
	for _, d := range s.report.Devices {
		if room > 0 && len(lines) > room {
			break
		}
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

// counters formats the counters of a device's source.
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

// legend explains the letters of a ring's strip.
func (s *screen) legend() string {
	p := s.colors
	return "  " + p.free.Styled(".") + " free  " + p.writing.Styled("w") + " being filled  " + p.reading.Styled("R") +
		" held by the reader  " + p.head.Styled("|") + " the next packet goes here"
}

func (s *screen) footer() []string {
	var lines []string
	if (s.help || s.report != nil && s.report.Hosts == nil && len(s.report.Sockets) > 0) && (s.height == 0 || s.height >= legendHeight) {
		lines = append(lines, s.legend())
	}
	if s.live {
		pause := "p pause"
		if s.paused {
			pause = "p resume"
		}
		lines = append(lines, s.colors.faint.Styled("  q quit  "+pause+"  up/down select  s sort: "+s.order.String()+"  ? help"))
	}
	return lines
}

func (s *screen) helpText() []string {
	return strings.Split(`
  q, ctrl+c          quit
  p, space           pause, resume
  up, down, k, j     select a reader: if there is no room for the details of
                     all readers, those of the selected one are shown
  s                  sort by time of opening, by drops, by how much of its ring
                     the reader holds, or by packets captured
  ?                  show or leave this help

  Rates are packets a second, over the last second. A reader that drops packets
  because its ring is full is marked slow. A drop of reason "`+ring.Owned.String()+`"
  is not the reader's fault: a slower writer was still filling the next slot.

  A strip shows a ring's slots, or blocks, in order. Where several slots share a
  letter, it is the letter of the slot that is furthest from free.

  You see your own user's readers, all where the server grants it, and of a
  fleet those of your class.
`, "\n")
}

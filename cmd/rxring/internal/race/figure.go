package race

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// figure is the timeline of a torn packet, laid out: everything in it has its
// place in a drawing of figureWidth units, of which html.go makes SVG.
type figure struct {
	Design, How string

	Width, Height int
	Groups        []group
	Ticks         []tick
	AxisY, TickY  int
	Inner         int // width of a group
	Story         []string
	Note          string // what is not drawn

	Strip       []piece
	StripLabels []mark
}

// group is a slot: a lane for each writer that held it, and one for the reader.
type group struct {
	Slot      int
	Y, Height int
	LabelY    int
	Lanes     []lane
	Shared    []box // when two writers held the slot
	IsTorn    bool
}

type lane struct {
	Label string
	Y     int // of the label's baseline
	Boxes []box
	Texts []text
}

type box struct {
	X, Y, W, H float64
	Class      string
	Title      string
}

type text struct {
	X, Y  float64
	Class string
	Text  string
}

type tick struct {
	X     float64
	Label string
}

type piece struct {
	box
	Label  string
	LabelX float64
	Text   string // class of the label
}

type mark struct {
	X      float64
	Label  string
	Anchor string
}

// The drawing's measures, in its own units.
const (
	figureWidth = 960
	figureLeft  = 108 // labels
	labelEnd    = 102
	figureRight = 952
	laneHeight  = 22
	barHeight   = 14
	noteHeight  = 14 // under the reader's lane, for a word
	groupGap    = 14
	groupPad    = 6
	figureTop   = 6
	maxGroups   = 4 // slots drawn
	colours     = 7
	charWidth   = 6.4 // of a label in a bar
	stripHeight = 34
)

func newFigure(o *Outcome) *figure {
	t := o.Tear
	f := &figure{Design: o.Design, How: promises[o.design].how, Width: figureWidth}
	f.layOut(t)
	f.strip(t)
	f.story(t)
	return f
}

// place is where time d is drawn.
func (t *timeline) place(d time.Duration) float64 {
	d = min(max(d, t.from), t.to)
	return figureLeft + float64(d-t.from)/float64(t.to-t.from)*(figureRight-figureLeft)
}

// involved says whose packets the torn one is made of, in order of appearance.
func (t *Tear) involved() (all []Packet) {
	for _, r := range append(slices.Clone(t.Ranges), Range{Packet: t.Header}) {
		if !r.Nobody && !slices.Contains(all, r.Packet) {
			all = append(all, r.Packet)
		}
	}
	return all
}

// colour gives writers colours: first those the torn packet is made of.
func (t *Tear) colour() func(writer int) string {
	var order []int
	see := func(w int) {
		if !slices.Contains(order, w) {
			order = append(order, w)
		}
	}
	for _, p := range t.involved() {
		see(p.Writer)
	}
	for _, s := range t.timeline.spans {
		see(s.packet.Writer)
	}
	return func(w int) string { return fmt.Sprintf("c%d", max(0, slices.Index(order, w))%colours) }
}

func (f *figure) layOut(t *Tear) {
	tl := &t.timeline
	colour, involved := t.colour(), t.involved()
	y := figureTop
	for _, slot := range tl.slots(t.Slot) {
		g := group{Slot: slot, Y: y, IsTorn: slot == t.Slot}
		y += groupPad
		g.LabelY = y + 15
		var writers []int
		for _, s := range tl.spans {
			if s.slot == slot && !slices.Contains(writers, s.packet.Writer) {
				writers = append(writers, s.packet.Writer)
			}
		}
		slices.Sort(writers)
		for _, w := range writers {
			l := lane{Label: fmt.Sprintf("writer %d", w), Y: y + 15}
			for _, s := range tl.spans {
				if s.slot == slot && s.packet.Writer == w {
					l.hold(tl, s, float64(y+4), colour(w), slices.Contains(involved, s.packet))
				}
			}
			g.Lanes = append(g.Lanes, l)
			y += laneHeight
		}
		l := lane{Label: "reader", Y: y + 15}
		for _, s := range tl.reads {
			if s.slot == slot {
				l.read(tl, s, float64(y+4))
			}
		}
		g.Lanes = append(g.Lanes, l)
		y += laneHeight + groupPad
		if g.IsTorn {
			y += noteHeight
		}
		g.Height = y - g.Y
		for _, b := range tl.shared(slot) {
			b.Y, b.H = float64(g.Y), float64(g.Height)
			g.Shared = append(g.Shared, b)
		}
		f.Groups = append(f.Groups, g)
		y += groupGap
	}
	if used := tl.slotsUsed(); used > len(f.Groups) {
		f.Note = fmt.Sprintf("%d of the %d slots in use in this time are drawn.", len(f.Groups), used)
	}
	f.AxisY = y - groupGap + 6
	f.TickY = f.AxisY + 14
	f.Height = f.AxisY + 20
	f.Inner = figureWidth - 1
	f.Ticks = tl.ticks()
}

// slots are those to draw: the torn one, and those used last before it was read.
func (t *timeline) slots(torn int) (slots []int) {
	slots = []int{torn}
	for _, s := range slices.Backward(t.spans) {
		if len(slots) < maxGroups && s.acquired <= t.read.seen && !slices.Contains(slots, s.slot) {
			slots = append(slots, s.slot)
		}
	}
	slices.Sort(slots)
	return slots
}

func (t *timeline) slotsUsed() int {
	used := map[int]bool{}
	for _, s := range t.spans {
		used[s.slot] = true
	}
	return len(used)
}

// hold draws a writer's time in a slot.
func (l *lane) hold(t *timeline, s span, y float64, colour string, involved bool) {
	class := colour
	if !involved {
		class += " other"
	}
	bar := func(from, to time.Duration, class string) box {
		x := t.place(from)
		return box{X: x, Y: y, W: max(2, t.place(to)-x), H: barHeight, Class: class, Title: fmt.Sprintf("%v: %s to %s", s.packet, micros(s.acquired-t.from), micros(s.released-t.from))}
	}
	all := bar(s.acquired, s.released, class)
	l.Boxes = append(l.Boxes, all)
	wait := (t.to - t.from) / 50
	if s.resumed-s.stalled > wait {
		l.Boxes = append(l.Boxes, bar(s.stalled, s.resumed, "wait"))
	}
	if s.released-s.copied > wait {
		l.Boxes = append(l.Boxes, bar(s.copied, s.released, "wait"))
	}
	label := fmt.Sprintf("packet %d", s.packet.Number)
	if width := charWidth*float64(len(label)) + 8; involved && all.W > width {
		l.Boxes = append(l.Boxes, box{X: all.X, Y: y, W: width, H: barHeight, Class: class}) // no hatching behind words
		l.Texts = append(l.Texts, text{X: all.X + 4, Y: y + 11, Class: "t" + colour, Text: label})
	}
}

// read draws the reader's time in a slot.
func (l *lane) read(t *timeline, s readSpan, y float64) {
	x := t.place(s.seen)
	b := box{X: x, Y: y, W: max(2, t.place(s.returned)-x), H: barHeight, Class: "reader", Title: fmt.Sprintf("reader: %v, %s to %s", s.packet, micros(s.seen-t.from), micros(s.returned-t.from))}
	if s == t.read {
		b.Class = "torn"
		label := text{X: b.X, Y: y + laneHeight + 8, Class: "torn-label", Text: "↑ the torn packet"}
		if b.X > figureRight-120 {
			label.X, label.Class, label.Text = b.X+b.W, "torn-label end", "the torn packet ↑"
		}
		l.Texts = append(l.Texts, label)
	}
	l.Boxes = append(l.Boxes, b)
}

// shared are the times in which two writers or more held a slot.
func (t *timeline) shared(slot int) (all []box) {
	type edge struct {
		at   time.Duration
		step int
	}
	var edges []edge
	for _, s := range t.spans {
		if s.slot == slot {
			edges = append(edges, edge{s.acquired, 1}, edge{s.released, -1})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.step, b.step)) })
	holders, since := 0, time.Duration(0)
	for _, e := range edges {
		if holders += e.step; e.step > 0 && holders == 2 {
			since = e.at
		}
		if e.step < 0 && holders == 1 {
			if x, to := t.place(since), t.place(e.at); to-x > 0.5 {
				all = append(all, box{X: x, W: to - x, Class: "shared"})
			}
		}
	}
	return all
}

func (t *timeline) ticks() (all []tick) {
	step := time.Duration(100)
	for i := 0; (t.to-t.from)/step > 8; i++ {
		step = step * []time.Duration{2, 5, 2}[i%3] / []time.Duration{1, 2, 1}[i%3]
	}
	for d := time.Duration(0); d <= t.to-t.from; d += step {
		if x := t.place(t.from + d); x < figureRight-20 {
			all = append(all, tick{x, micros(d)})
		}
	}
	return all
}

// strip draws the torn packet's bytes.
func (f *figure) strip(t *Tear) {
	colour := t.colour()
	place := func(at int) float64 {
		return figureLeft + float64(at)/float64(t.Bytes)*(figureRight-figureLeft)
	}
	last := -1e9
	label := func(at int) {
		x, anchor := place(at), "middle"
		if at == 0 {
			anchor = "start"
		}
		if at == t.Bytes {
			anchor = "end"
			if n := len(f.StripLabels); n > 1 && x-last < 64 {
				f.StripLabels = f.StripLabels[:n-1] // the end matters more
			}
		} else if x-last < 48 {
			return
		}
		last = x
		f.StripLabels = append(f.StripLabels, mark{x, fmt.Sprint(at), anchor})
	}
	for _, r := range t.Ranges {
		x := place(r.From)
		p := piece{box: box{X: x, Y: 4, W: max(1, place(r.To)-x), H: stripHeight, Class: "nobody", Title: r.String()}, Text: "tnobody", Label: "no writer's"}
		if !r.Nobody {
			p.Class, p.Text, p.Label = colour(r.Writer), "t"+colour(r.Writer), r.Packet.String()
		}
		if p.W < charWidth*float64(len(p.Label))+8 {
			p.Label = ""
		}
		p.LabelX = x + p.W/2
		f.Strip = append(f.Strip, p)
		label(r.From)
	}
	label(t.Bytes)
}

// story tells in sentences what the drawing shows.
func (f *figure) story(t *Tear) {
	tl := &t.timeline
	at := func(d time.Duration) string { return micros(d - tl.from) }
	told := tl.present()
	for _, s := range tl.spans {
		if slices.Contains(t.involved(), s.packet) && !slices.Contains(told, s) {
			told = append(told, s)
		}
	}
	slices.SortFunc(told, func(a, b span) int { return cmp.Compare(a.acquired, b.acquired) })
	for _, s := range told {
		line := fmt.Sprintf("At %s writer %d acquired slot %d for its packet %d", at(s.acquired), s.packet.Writer, s.slot, s.packet.Number)
		if d := s.resumed - s.stalled; d > 0 {
			line += fmt.Sprintf(", stalled for %s in mid-copy", micros(d))
		}
		if d := s.released - s.copied; d > (tl.to-tl.from)/50 {
			line += fmt.Sprintf(", was in its release for %s", micros(d))
		}
		f.Story = append(f.Story, line+fmt.Sprintf(", and released it at %s.", at(s.released)))
	}
	f.Story = append(f.Story, fmt.Sprintf("At %s the reader found slot %d ready. The header there was that of %v; %s.", at(tl.read.seen), t.Slot, t.Header, t.ranges()))
}

package race

import (
	_ "embed"
	"fmt"
	"html"
	"io"
	"math"
	"strings"
	"time"
)

//go:embed page.html
var page string

// WriteHTML writes the report as one page that needs nothing else: the table,
// and for each design that tore, the history of one torn packet.
func (r *Report) WriteHTML(w io.Writer) error {
	_, err := strings.NewReplacer(
		"/* colours */", colourRules(),
		"<!-- run -->", html.EscapeString(r.conditions()),
		"<!-- designs -->", r.table(),
		"<!-- torn packets -->", r.figures(),
	).WriteString(w, page)
	return err
}

// element is an HTML or SVG element. Attributes are names, each followed by a value, which is
// text or a number; those without text are left out. Content is HTML.
func element(name, content string, attributes ...any) string {
	var b strings.Builder
	b.WriteString("<" + name)
	for i := 0; i < len(attributes); i += 2 {
		value := attributes[i+1]
		if x, ok := value.(float64); ok {
			value = math.Round(10*x) / 10
		}
		if value != "" {
			fmt.Fprintf(&b, ` %s="%s"`, attributes[i], html.EscapeString(fmt.Sprint(value)))
		}
	}
	return b.String() + ">" + content + "</" + name + ">"
}

// textElement is an element that contains text.
func textElement(name, text string, attributes ...any) string {
	return element(name, html.EscapeString(text), attributes...)
}

// lines are HTML elements, one a line.
type lines struct{ strings.Builder }

func (l *lines) add(element string) { l.WriteString(element + "\n") }

func colourRules() string {
	var b lines
	for i := range colours {
		b.add(fmt.Sprintf(".c%d { fill: var(--c%[1]d); background: var(--c%[1]d) } svg .tc%[1]d { fill: var(--t%[1]d) }", i))
	}
	return b.String()
}

func (r *Report) conditions() string {
	text := fmt.Sprint(r.Config) + "."
	if r.EndedEarly {
		text += " Ended early."
	}
	if !r.Config.Forced {
		text += " These values do not force every fault to show."
	}
	return text
}

func (r *Report) table() string {
	var head, body lines
	for i, c := range columns {
		head.add(textElement("th", c, "class", align(i)))
	}
	for i := range r.Designs {
		o := &r.Designs[i]
		cells := o.cells()
		row := element("th", html.EscapeString(o.Design)+textElement("small", promises[o.design].how), "scope", "row")
		for i, c := range cells[1:] {
			class := align(i + 1)
			if i == len(cells)-2 {
				class = verdictClass[o.Verdict]
			}
			row += textElement("td", grouped(c), "class", class)
		}
		body.add(element("tr", row))
	}
	return element("thead", element("tr", head.String())) + "\n" + element("tbody", body.String())
}

func (r *Report) figures() string {
	var b lines
	for i := range r.Designs {
		if o := &r.Designs[i]; o.Tear != nil {
			b.add(newFigure(o).section())
		}
	}
	if b.Len() == 0 {
		b.add(textElement("h2", "No packet was torn"))
		b.add(textElement("p", "No design of this run tore a packet, so there is no history of one to draw."))
	}
	return b.String()
}

const key = `<ul class="key"><li><i class="c0"></i>holds the slot: one colour a writer; pale when it is no part of the torn packet</li><li><i class="hatched"></i>stands still, in mid-copy or within its release</li><li><i class="both"></i>two writers in one slot</li><li><i class="rd"></i>the reader copies</li><li><i class="bad"></i>the reader copies a torn packet</li></ul>`

// section is the figure with its text.
func (f *figure) section() string {
	var story lines
	for _, s := range f.Story {
		story.add(textElement("li", s))
	}
	var b lines
	b.add(textElement("h2", "One torn packet: "+f.Design))
	b.add(textElement("p", strings.TrimSpace("Ownership: "+f.How+". "+f.Note), "class", "muted"))
	b.add(element("figure", f.timelineSVG()+key))
	b.add(textElement("p", "What the reader got, byte by byte, in the colours of those who wrote it:"))
	b.add(element("figure", f.stripSVG()))
	b.add(element("ol", story.String()))
	return element("section", b.String())
}

const hatch = `<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="2.6" height="5" fill="var(--hatch)"/></pattern></defs>`

func (f *figure) timelineSVG() string {
	var b lines
	b.add(hatch)
	for _, g := range f.Groups {
		b.add(element("rect", "", "class", "group", "x", 0.5, "y", g.Y, "width", f.Inner, "height", g.Height, "rx", 4))
	}
	for _, t := range f.Ticks {
		b.add(element("line", "", "class", "grid", "x1", t.X, "x2", t.X, "y1", 6, "y2", f.AxisY))
		b.add(textElement("text", t.Label, "class", "tick", "x", t.X, "y", f.TickY))
	}
	for _, g := range f.Groups {
		for _, s := range g.Shared {
			b.add(s.svg())
		}
		b.add(textElement("text", fmt.Sprint("slot ", g.Slot), "class", "slot", "x", 8, "y", g.LabelY))
		for _, l := range g.Lanes {
			b.add(textElement("text", l.Label, "class", "lane end", "x", labelEnd, "y", l.Y))
			for _, box := range l.Boxes {
				b.add(box.svg("rx", 2))
			}
			for _, t := range l.Texts {
				b.add(textElement("text", t.Text, "class", t.Class, "x", t.X, "y", t.Y))
			}
		}
	}
	return drawing(f.Width, f.Height, "Who held which slot when, around one torn packet", b.String())
}

func (f *figure) stripSVG() string {
	var b lines
	b.add(textElement("text", "bytes", "class", "lane end", "x", labelEnd, "y", 25))
	for _, p := range f.Strip {
		b.add(p.svg())
	}
	for _, p := range f.Strip {
		if p.Label != "" {
			b.add(textElement("text", p.Label, "class", p.Text, "x", p.LabelX, "y", 25, "text-anchor", "middle"))
		}
	}
	for _, m := range f.StripLabels {
		b.add(textElement("text", m.Label, "class", "tick", "x", m.X, "y", 52, "text-anchor", m.Anchor))
	}
	return drawing(f.Width, stripHeight+24, "The bytes of the torn packet and whose they are", b.String())
}

func drawing(width, height int, label, content string) string {
	return element("svg", content, "viewBox", fmt.Sprintf("0 0 %d %d", width, height), "role", "img", "aria-label", label)
}

func (b *box) svg(more ...any) string {
	title := ""
	if b.Title != "" {
		title = textElement("title", b.Title)
	}
	return element("rect", title, append([]any{"class", b.Class, "x", b.X, "y", b.Y, "width", b.W, "height", b.H}, more...)...)
}

var verdictClass = map[Verdict]string{OK: "ok", Failed: "fail", NotForced: "muted"}

func align(column int) string {
	if isWords(column) {
		return ""
	}
	return "n"
}

// grouped puts thin spaces between the thousands of a number.
func grouped(s string) string {
	if strings.Trim(s, "0123456789") != "" {
		return s
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u2009" + s[i:]
	}
	return s
}

// micros is a duration in microseconds, as much of it as matters.
func micros(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	us := float64(d) / float64(time.Microsecond)
	if us < 10 {
		return fmt.Sprintf("%.1f\u00a0µs", us)
	}
	return fmt.Sprintf("%s\u00a0µs", grouped(fmt.Sprintf("%.0f", us)))
}

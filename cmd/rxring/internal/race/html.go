package race

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

//go:embed page.html
var pageSource string

var page = template.Must(template.New("page").Parse(pageSource))

// WriteHTML writes the report as one page that needs nothing else: the table,
// and for each design that tore, the history of one torn packet.
func (r *Report) WriteHTML(w io.Writer) error {
	type row struct {
		Outcome
		How   string
		Cells []cell
	}
	var data struct {
		*Report
		Columns []cell
		Rows    []row
		Figures []*figure
		Colours int
	}
	data.Report, data.Colours = r, colours
	for i, c := range columns {
		data.Columns = append(data.Columns, cell{c, align(i)})
	}
	for i := range r.Designs {
		o := &r.Designs[i]
		cells := o.cells()
		line := row{Outcome: *o, How: promises[o.design].how}
		for i, c := range cells[1:] {
			line.Cells = append(line.Cells, cell{grouped(c), align(i + 1)})
		}
		line.Cells[len(line.Cells)-1].Class = verdictClass[o.Verdict]
		data.Rows = append(data.Rows, line)
		if o.Tear != nil {
			data.Figures = append(data.Figures, newFigure(o))
		}
	}
	return page.Execute(w, data)
}

type cell struct{ Text, Class string }

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

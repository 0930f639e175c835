package top

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/rxring/rxring/internal/printable"
)

// clean escapes what a terminal might interpret: names are other processes' text.
func clean(s string) string { return printable.Text(s, '?') }

// cut truncates s, which may have styles, to width columns.
func cut(s string, width int) string { return ansi.Truncate(s, max(0, width), "") }

// left pads or truncates s to exactly width columns.
func left(s string, width int) string {
	s = ansi.Truncate(s, max(0, width), "~")
	return s + strings.Repeat(" ", max(0, width-ansi.StringWidth(s)))
}

// fits returns the width of a column for s and a space.
func fits(s string) int { return ansi.StringWidth(clean(s)) + 1 }

// right pads s to width columns on the left. It does not truncate.
func right(s string, width int) string {
	return strings.Repeat(" ", max(0, width-ansi.StringWidth(s))) + s
}

// wrap breaks s into lines of at most width columns, between words where possible.
func wrap(s string, width int) (lines []string) {
	width = max(1, width)
	line := ""
	for _, word := range strings.Fields(s) {
		switch {
		case line == "":
			line = word
		case ansi.StringWidth(line)+1+ansi.StringWidth(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	lines = append(lines, line)
	return strings.Split(ansi.Hardwrap(strings.Join(lines, "\n"), width, true), "\n")
}

// number formats n in at most five characters: 0, 12, 9999, 12.3k, 4.56M.
func number(n float64) string {
	switch {
	case n < 0 || math.IsNaN(n):
		return "?"
	case n == 0:
		return "0"
	case n < 9.95 && n != math.Trunc(n):
		return strconv.FormatFloat(n, 'f', 1, 64)
	case n < 9999.5:
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	for _, unit := range []string{"k", "M", "G", "T", "P", "E"} {
		n /= 1000
		switch {
		case n < 9.995:
			return strconv.FormatFloat(n, 'f', 2, 64) + unit
		case n < 99.95:
			return strconv.FormatFloat(n, 'f', 1, 64) + unit
		case n < 999.5:
			return strconv.FormatFloat(n, 'f', 0, 64) + unit
		}
	}
	return "many"
}

// count formats n exactly up to 10 million, and as number does above.
func count(n uint64) string {
	const short = 10_000_000
	if n < short {
		return strconv.FormatUint(n, 10)
	}
	return number(float64(n))
}

// size formats a number of bytes.
func size(n uint64) string {
	const kib, mib, gib = 1 << 10, 1 << 20, 1 << 30
	switch {
	case n >= gib && n%(gib/4) == 0:
		return trimmed(float64(n)/gib) + " GiB"
	case n >= mib && n%(mib/4) == 0:
		return trimmed(float64(n)/mib) + " MiB"
	case n >= kib && n%(kib/4) == 0:
		return trimmed(float64(n)/kib) + " KiB"
	}
	return strconv.FormatUint(n, 10) + " bytes"
}

func trimmed(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// plural returns "1 reader", "2 readers".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// age formats d in its two largest units.
func age(d time.Duration) string {
	d = max(0, d)
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
}

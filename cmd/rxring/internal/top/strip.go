package top

import (
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/rxring/rxring/attach"
)

// stateRank orders the letters of RingStatus.States by how far they are from free.
func stateRank(letter byte) int { return strings.IndexByte(".wR", letter) }

// narrow reduces states to at most width letters: of neighbours, it keeps the one that is
// furthest from free. It also returns the index of the letter that head falls on, -1 if
// head is out of range.
func narrow(states string, head, width int) (string, int) {
	n := min(len(states), width)
	if n <= 0 {
		return "", -1
	}
	cells := make([]byte, n)
	for i := range cells {
		cells[i] = '?' // unless there is a letter that this version knows
		for _, letter := range []byte(states[i*len(states)/n : (i+1)*len(states)/n]) {
			if stateRank(letter) > stateRank(cells[i]) {
				cells[i] = letter
			}
		}
	}
	if head < 0 || head >= len(states) {
		return string(cells), -1
	}
	return string(cells), ((head+1)*n - 1) / len(states)
}

// strip returns a ring's slots in at most width columns, with a bar before the head.
func strip(r *attach.RingStatus, width int, p palette) string {
	const bar = "|"
	states, head := narrow(r.States, r.Head, width-len(bar))
	var b strings.Builder
	for i := 0; i < len(states); {
		if i == head {
			b.WriteString(p.head.Styled(bar))
		}
		end := i + 1
		for end < len(states) && end != head && states[end] == states[i] {
			end++
		}
		b.WriteString(p.state(states[i]).Styled(states[i:end]))
		i = end
	}
	return b.String()
}

// heldPercent returns the part of the ring that the reader holds, in percent.
func heldPercent(r *attach.RingStatus) int {
	if r == nil || r.States == "" {
		return 0
	}
	return 100 * strings.Count(r.States, "R") / len(r.States)
}

// palette has the styles of the screen, which carry no information of their own.
type palette struct {
	title, faint, alarm, selected, head ansi.Style
	free, writing, reading              ansi.Style
}

// colors uses the terminal's own sixteen colors, which its user has chosen to be readable
// on the background; where a background is set, the foreground is set as well.
func colors() palette {
	return palette{
		title:    ansi.NewStyle(ansi.AttrBold),
		faint:    ansi.NewStyle(ansi.AttrFaint),
		alarm:    ansi.NewStyle(ansi.AttrBold, ansi.AttrRedForegroundColor),
		selected: ansi.NewStyle(ansi.AttrReverse),
		head:     ansi.NewStyle(ansi.AttrBold),
		free:     ansi.NewStyle(ansi.AttrGreenForegroundColor),
		writing:  ansi.NewStyle(ansi.AttrBlackForegroundColor, ansi.AttrYellowBackgroundColor),
		reading:  ansi.NewStyle(ansi.AttrBrightWhiteForegroundColor, ansi.AttrBlueBackgroundColor),
	}
}

func (p palette) state(letter byte) ansi.Style {
	switch letter {
	case '.':
		return p.free
	case 'w':
		return p.writing
	case 'R':
		return p.reading
	}
	return nil
}

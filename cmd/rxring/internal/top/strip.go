package top

import (
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/rxring/rxring/attach"
)

// stateRank says how far a letter of RingStatus.States is from free.
func stateRank(letter byte) int { return strings.IndexByte(".wR", letter) }

// narrow is states in at most width letters: of neighbours the one that is
// furthest from free. head is where the head's letter goes; out of range, it is
// nowhere: -1.
func narrow(states string, head, width int) (string, int) {
	n := min(len(states), width)
	if n <= 0 {
		return "", -1
	}
	cells := make([]byte, n)
	for i := range cells {
		cells[i] = '?' // a letter that this version does not know
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

// strip draws a ring's slots in at most width columns, with a bar before the head.
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

// withReader is how much of the ring the reader has, in percent.
func withReader(r *attach.RingStatus) int {
	if r == nil || r.States == "" {
		return 0
	}
	return 100 * strings.Count(r.States, "R") / len(r.States)
}

// palette is how things look. They say the same without.
type palette struct {
	title, faint, alarm, selected, head ansi.Style
	free, writing, reading              ansi.Style
}

// colors are of the terminal's own sixteen, which its owner has chosen to be seen
// on its background; where something is filled, both colours are given.
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

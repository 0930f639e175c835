package printable_test

import (
	"testing"

	"github.com/rxring/rxring/internal/printable"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "",
		`"wg0": none, µ 漢`:     `"wg0": none, µ 漢`,
		"\x1b]0;title\a\r\n\t": "?]0;title????",
		"\xff\u202e\u009b2J":   "\ufffd??2J",
	} {
		if got := printable.Text(text, '?'); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

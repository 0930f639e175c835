package printable_test

import (
	"encoding/json"
	"strings"
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

func TestWriter(t *testing.T) {
	var b strings.Builder
	text := "one\ttwo\nµ\x1b[31m\u009b\x7f\u202e\r\xff\n"
	if n, err := printable.Writer(&b).Write([]byte(text)); n != len(text) || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if want := "one\ttwo\nµ?[31m????\ufffd\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestJSONMeansTheSame(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                `"plain"`,
		"a\x7fb\u0085c":        `"a\u007fb\u0085c"`,
		"\u202e\u2066 µ 漢":     `"\u202e\u2066 µ 漢"`,
		"\U000e0001 and \x1b[": `"\udb40\udc01 and \u001b["`,
	} {
		b, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		got := printable.JSON(b)
		var back string
		if err := json.Unmarshal(got, &back); err != nil || back != text || string(got) != want {
			t.Errorf("%q: %s is %q, %v; want %s", text, got, back, err, want)
		}
	}
}

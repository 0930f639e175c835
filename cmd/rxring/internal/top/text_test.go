package top

import (
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring/attach"
)

func TestNumbersAreShort(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0", 0.4: "0.4", 0.04: "0.0", 3: "3", 9.94: "9.9", 9.96: "10", 12.5: "12", 9999: "9999",
		9999.6: "10.0k", 12345: "12.3k", 99960: "100k", 123456: "123k", 999499: "999k", 999600: "1.00M",
		4.56e6: "4.56M", 7.8e9: "7.80G", 1e19: "10.0E", 1e22: "many", -1: "?",
	} {
		if got := number(n); got != want || len(got) > 5 {
			t.Errorf("number(%v) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0", 9_999_999: "9999999", 10_000_000: "10.0M", 1<<64 - 1: "18.4E"} {
		if got := count(n); got != want {
			t.Errorf("count(%v) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[uint64]string{100: "100 bytes", 2048: "2 KiB", 65632: "65632 bytes", 1536: "1.5 KiB", 1 << 20: "1 MiB", 1<<20 + 1: "1048577 bytes", 3 << 30: "3 GiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%v) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0s", 59 * time.Second: "59s", 3*time.Minute + 20*time.Second: "3m20s", 90 * time.Minute: "1h30m", 50 * time.Hour: "2d02h"} {
		if got := age(d); got != want {
			t.Errorf("age(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestWrapKeepsWordsTogetherWhereItCan(t *testing.T) {
	const text = "start rxring serve --at /run/my-own.sock"
	for width, want := range map[int]string{
		80: text,
		24: "start rxring serve --at|/run/my-own.sock",
		10: "start|rxring|serve --at|/run/my-ow|n.sock",
	} {
		if got := strings.Join(wrap(text, width), "|"); got != want {
			t.Errorf("at %d: %s, want %s", width, got, want)
		}
	}
	for width := -1; width < 3; width++ { // it comes to an end
		if got := wrap("\u65e5\u672c a", width); len(got) == 0 {
			t.Errorf("at %d: nothing", width)
		}
	}
}

func TestStripOfManySlotsShowsThoseFurthestFromFree(t *testing.T) {
	for _, c := range []struct {
		states string
		head   int
		width  int
		want   string
	}{
		{"Rw..", 2, 10, "Rw|.."},
		{"Rw..", 2, 5, "Rw|.."},
		{"....wR..", 7, 5, "..R|."},
		{"w.......R", 0, 4, "|w.R"},
		{"RRRR", 4, 10, "RRRR"}, // a head that is nowhere
		{"RRRR", -1, 10, "RRRR"},
		{"R?x.", 1, 10, "R|??."}, // letters of another version
		{"RRRR", 0, 1, ""},
		{"RRRR", 0, -5, ""},
		{"", 0, 10, ""},
	} {
		r := &attach.RingStatus{States: c.states, Head: c.head}
		if got := strip(r, c.width, palette{}); got != c.want {
			t.Errorf("%q with head %d in %d columns: %q, want %q", c.states, c.head, c.width, got, c.want)
		}
	}
}

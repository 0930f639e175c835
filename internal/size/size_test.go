package size

import (
	"math"
	"testing"
)

func TestFormatWritesWhatParseReads(t *testing.T) {
	for text, want := range map[string]int64{
		"1KiB": 1 << 10, "64MiB": 64 << 20, "3GiB": 3 << 30, "1025KiB": 1025 << 10, "8589934591GiB": math.MaxInt64 &^ (1<<30 - 1),
	} {
		n, err := Parse(text)
		if err != nil || n != want {
			t.Errorf("%s: %d, %v: want %d", text, n, err, want)
		} else if got := Format(n); got != text {
			t.Errorf("%d: %s: want %s", n, got, text)
		}
	}
	if got := Format(1<<20 + 1); got != "1048577 bytes" {
		t.Errorf("no multiple of 1 KiB: %s", got)
	}
	if n, err := Parse("2 MiB"); n != 2<<20 || err != nil {
		t.Errorf("with a space: %d, %v", n, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"", "64", "64MB", "0MiB", "-1MiB", "MiB", "1.5GiB", "8589934592GiB", "99999999999999999999KiB", "1mib"} {
		if n, err := Parse(text); err == nil {
			t.Errorf("%q: %d", text, n)
		}
	}
}

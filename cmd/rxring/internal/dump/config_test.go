package dump

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rxring/rxring/capture"
	"github.com/rxring/rxring/ring"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1_000_000, "20": 20_000_000, "64k": 64 << 10, "64K": 64 << 10, "3m": 3 << 20, "2g": 2 << 30,
	} {
		if got, err := ParseSize("-C", text); got != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "k", "0", "-3", "3x", "1.5", "9223372036854775807", "9999999999999g"} {
		if got, err := ParseSize("-C", text); err == nil || !strings.Contains(err.Error(), "want millions of bytes") {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestWhatCannotBe(t *testing.T) {
	for want, c := range map[string]Config{
		"-c -1: want":                 {Count: -1},
		"-s 262145: want 1 to 262144": {Capture: capture.Config{Snaplen: 262145}},
		"--for -1s: want":             {For: -time.Second},
		"-G 1.5: want whole seconds":  {File: "x", Rotation: Rotation{Period: 1500 * time.Millisecond}},
		"-W -1: want":                 {File: "x", Rotation: Rotation{Period: time.Second, Files: -1}},
		"-C -5: want":                 {File: "x", Rotation: Rotation{Size: -5}},
		"-W counts the files of -C, -G or --rotate-packets":            {File: "x", Rotation: Rotation{Files: 3}},
		"--max-bytes -1: want":                                         {Bytes: -1},
		"--keep -1: want":                                              {Rotation: Rotation{Keep: -1}},
		"--keep removes files of -C, -G":                               {File: "x", Rotation: Rotation{Keep: 3}},
		"want one of both, or -G":                                      {File: "x", Rotation: Rotation{Keep: 3, Files: 2, Size: 1}},
		"-z runs a command for files":                                  {File: "-", Command: "gzip"},
		"want --record SIZE with them":                                 {File: "x", Record: Record{After: 1}},
		"--record 7: want 1048576 bytes or more":                       {File: "x", Record: Record{Bytes: 7}},
		"--last -1s: want a positive time":                             {File: "x", Record: Record{Bytes: minRecord, Last: -time.Second}},
		"--after -1s: want a positive time":                            {File: "x", Record: Record{Bytes: minRecord, After: -time.Second}},
		"--record writes files: want -w FILE":                          {File: "-", Record: Record{Bytes: minRecord}},
		"--record writes a file for each trigger":                      {File: "x", Rotation: Rotation{Size: 1}, Record: Record{Bytes: minRecord}},
		"want -w FILE with them":                                       {Rotation: Rotation{Size: 1}},
		"-C and -G rotate files":                                       {File: "-", Rotation: Rotation{Period: time.Second}},
		"-w x%Q: with -G or --record, want conversions of strftime(3)": {File: "x%Q", Rotation: Rotation{Period: time.Second}},
		"-w x%: with -G or --record, want conversions of strftime(3)":  {File: "x%", Rotation: Rotation{Period: time.Second}},
	} {
		bad := new(UsageError)
		if err := c.Check(); !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	for _, c := range []Config{
		{}, {File: "100%"}, {File: "-", Count: 3}, {File: "x-%H%M%%", Rotation: Rotation{Period: time.Hour, Files: 24}},
		{File: "x%Q", Rotation: Rotation{Size: 1, Files: 2}}, // no time in names without -G
	} {
		if err := c.Check(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestNames(t *testing.T) {
	noon := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for _, story := range []struct {
		file string
		r    Rotation
		want string
	}{
		{"a.pcapng", Rotation{Size: 1}, "a.pcapng a.pcapng1 a.pcapng2 a.pcapng3"},
		{"a", Rotation{Size: 1, Files: 2}, "a0 a1 a0 a1"},
		{"a", Rotation{Size: 1, Files: 11}, "a00 a01 a02 a03"},
		{"a%H", Rotation{Size: 1}, "a%H a%H1 a%H2 a%H3"},
		{"a", Rotation{Period: time.Minute}, "a a1 a2 a3"},
		{"a-%H%M", Rotation{Period: time.Minute}, "a-1200 a-1201 a-1202 a-1203"},
		{"a-%H%M", Rotation{Period: 30 * time.Second}, "a-1200 a-12001 a-1201 a-12011"},
		{"a-%H", Rotation{Period: time.Minute, Files: 9, Size: 5}, "a-12 a-121 a-122 a-123"},
	} {
		n, err := (&Config{File: story.file, Rotation: story.r}).namer()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range 4 {
			got = append(got, n.next(noon.Add(time.Duration(i)*story.r.Period)))
		}
		if all := strings.Join(got, " "); all != story.want {
			t.Errorf("%s %+v: %s; want %s", story.file, story.r, all, story.want)
		}
	}
}

func TestResultIsASentence(t *testing.T) {
	for want, r := range map[string]Result{
		"0 packets captured, 0 dropped":                     {},
		"1 packet captured, 0 dropped":                      {Captured: 1, Files: 1},
		"20 packets captured, 148 dropped: ring full":       {Captured: 20, Dropped: 148},
		"7 packets captured, 1 dropped: ring full, 2 files": {Captured: 7, Dropped: 1, Files: 2},

		"7 packets captured, 3 dropped: lost before the device":           {Captured: 7, Dropped: 3, Reasons: ring.Drops{ring.Lost: 3}},
		"7 packets captured, 5 dropped: 2 ring full, 3 before the device": {Captured: 7, Dropped: 5, Reasons: ring.Drops{ring.Full: 2, ring.Lost: 3}},
	} {
		if got := r.String(); got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
}

package progress

import (
	"bytes"
	"math"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestBarIsDrawnWhenItHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := NewBar(&out)
		for _, step := range []struct {
			after time.Duration
			what  string
			done  float64
			want  string
		}{
			{0, "x.pcap", 0, "\r\x1b[K[                        ]   0% x.pcap"},
			{time.Second, "x.pcap", 0, ""},
			{time.Second, "x.pcap", 0.5, "\r\x1b[K[============            ]  50% x.pcap"},
			{barEvery / 2, "x.pcap", 0.6, ""},
			{barEvery, "x.pcap", 1, "\r\x1b[K[========================] 100% x.pcap"},
			{time.Second, "grown", 1.5, "\r\x1b[K[========================] 100% grown"},
			{time.Second, "less", -1, "\r\x1b[K[                        ]   0% less"},
			{time.Second, "0 of 0", math.NaN(), "\r\x1b[K[                        ]   0% 0 of 0"},
		} {
			time.Sleep(step.after)
			out.Reset()
			if b.Set(step.what, step.done); out.String() != step.want {
				t.Errorf("%s at %v: %q, want %q", step.what, step.done, out.String(), step.want)
			}
		}
		time.Sleep(time.Second)
		out.Reset()
		b.Clear()
		b.Set("0 of 0", 0)
		if want := "\r\x1b[K\r\x1b[K[                        ]   0% 0 of 0"; out.String() != want {
			t.Errorf("after Clear: %q, want %q", out.String(), want)
		}
	})
}

func TestFileIsNoTerminal(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if IsTerminal(f) {
		t.Error("it is said to be one")
	}
}

package fleet

import (
	"testing"
	"time"
)

func TestClockOf(t *testing.T) {
	const ms = int64(time.Millisecond)
	for _, c := range []struct {
		begin, end int64
		host       instants
		want       Clock
		text       string
	}{
		{0, 0, instants{}, Clock{}, "+0s ± 10µs"},
		{100 * ms, 104 * ms, instants{112 * ms, 112 * ms}, Clock{10 * time.Millisecond, 2 * time.Millisecond}, "+10ms ± 2ms"},
		{100 * ms, 110 * ms, instants{54 * ms, 56 * ms}, Clock{-50 * time.Millisecond, 4 * time.Millisecond}, "-50ms ± 4ms"},
		{0, ms / 10, instants{3600000 * ms, 3600000*ms + ms/20}, Clock{time.Hour - 25*time.Microsecond, 25 * time.Microsecond}, "+59m59.99998s ± 30µs"},
		{0, ms, instants{5 * ms, 9 * ms}, Clock{6500 * time.Microsecond, 0}, "+6.5ms ± 10µs"}, // a host that lies
	} {
		if got := clockOf(c.begin, c.end, c.host); got != c.want || got.String() != c.text {
			t.Errorf("%d to %d, %+v: %v, %q: want %v, %q", c.begin, c.end, c.host, got, got.String(), c.want, c.text)
		}
	}
}

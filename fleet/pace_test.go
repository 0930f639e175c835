package fleet

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	now := time.Now()
	p := pace{time.Second, now}
	for i, c := range []struct {
		took   time.Duration
		counts bool
	}{
		{time.Second, true},
		{1400 * time.Millisecond, true},
		{time.Minute, false}, // stopped
		{10 * time.Millisecond, true},
		{2 * time.Second, false},
	} {
		now = now.Add(c.took)
		if p.counts(now) != c.counts {
			t.Errorf("period %d of %v: counts %v", i, c.took, !c.counts)
		}
	}
}

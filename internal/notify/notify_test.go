package notify_test

import (
	"testing"

	"github.com/rxring/rxring/internal/notify"
)

type counter struct{ n int }

func (c *counter) Wake() { c.n++ }

func TestNotifyWakesEachSleeperOnce(t *testing.T) {
	n := new(notify.Notify)
	sleepers := make([]counter, 6) // more than fit in wake's own array
	for i := range sleepers {
		n.Arm(&sleepers[i])
		n.Arm(&sleepers[i]) // twice is once
	}
	n.Disarm(&sleepers[5])
	n.Wake()
	n.Wake()
	for i := range sleepers {
		want := 1
		if i == 5 {
			want = 0
		}
		if sleepers[i].n != want {
			t.Errorf("sleeper %d was woken %d times, want %d", i, sleepers[i].n, want)
		}
	}
}

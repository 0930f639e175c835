//go:build amd64 || arm64

package clock

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rxring/rxring/internal/need"
)

// slew has CLOCK_REALTIME gain so many microseconds a second until the test ends.
func slew(t *testing.T, ppm int64) {
	t.Helper()
	need.Root(t, "adjtimex")
	var before unix.Timex
	if _, err := unix.Adjtimex(&before); err != nil {
		t.Fatal(err)
	}
	set := func(frequency int64) error {
		_, err := unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_FREQUENCY, Freq: frequency})
		return err
	}
	if err := set(ppm << 16); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set(before.Freq); err != nil {
			t.Error(err)
		}
	})
}

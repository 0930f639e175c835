package clock

import (
	"os"
	"runtime"
	"strings"
	"time"
)

var system realtime

func init() { system.init(hasCounter() && os.Getenv(env) != "system") }

// env names the environment variable that selects time.Now with the value "system".
const env = "RXRING_CLOCK"

// hasCounter reports whether Linux has chosen the counter as its clock source: it then has one
// rate, and is the same on all processors.
func hasCounter() bool {
	if runtime.GOOS != "linux" || !invariant() {
		return false
	}
	// Read before a program may enter a sandbox without /sys.
	source, err := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	return err == nil && strings.TrimSpace(string(source)) == kernelSource
}

func (r *realtime) init(useCounter bool) {
	r.ticks, r.system = counter, systemTime
	r.unused.Store(!useCounter)
}

var start = time.Now()

// systemTime returns CLOCK_REALTIME, and a time by CLOCK_MONOTONIC, in nanoseconds.
func systemTime() (wall, mono int64) {
	t := time.Now()
	return t.UnixNano(), int64(t.Sub(start))
}

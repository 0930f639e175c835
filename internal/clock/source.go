package clock

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

var system realtime

func init() { system.init(useCounter(os.Getenv(env), readClockSource)) }

// env names the environment variable that selects the counter, if it is invariant, with the value
// "counter", and time.Now with the value "system".
const env = "RXRING_CLOCK"

// useCounter decides by the environment, and without it by Linux's clock sources, which read reads.
func useCounter(env string, read func(file string) string) bool {
	switch {
	case env == "system" || runtime.GOOS != "linux" || !invariant():
		return false
	case env == "counter":
		return true
	}
	return trusted(read)
}

// trusted reports whether Linux takes the counter for one that has one rate and is the same on all
// processors: it does not list one that it has found unstable. kvm-clock is computed from the TSC,
// and many virtual machines have it as their clock source by default.
func trusted(read func(file string) string) bool {
	current := strings.TrimSpace(read("current_clocksource"))
	return current == kernelSource ||
		current == "kvm-clock" && slices.Contains(strings.Fields(read("available_clocksource")), kernelSource)
}

// readClockSource is called before a program may enter a sandbox without /sys.
func readClockSource(file string) string {
	b, _ := os.ReadFile("/sys/devices/system/clocksource/clocksource0/" + file)
	return string(b)
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

// Package racetest is for tests under the race detector that run their own binary as
// a program.
package racetest

import (
	"os"
	"strings"
)

// NoExitSleep has programs that this process starts from now on exit at once. By
// default, a program built with -race sleeps for a second when it exits: another
// thread may have a race to report. Reports up to the exit are not affected. TestMain
// calls it, before any test runs.
func NoExitSleep() {
	os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
}

// Package onecpu is for tests that mostly start programs, one after the other, and wait for them.
//
// Tests that run side by side take less time so. A program, rxring, and rxring's launcher wake each
// other up all the time, and on a virtual machine that costs a third of their time where it
// goes to another processor. Tests of what several processors do at a time must have all.
package onecpu

import (
	"flag"
	"runtime"
	"testing"
)

// Programs has the programs that the calling goroutine starts from now on share one processor,
// as they would on a small machine: it wires the goroutine to its thread for good, and, on Linux,
// the thread to a processor. Each call takes the next of the processors that the thread may use.
func Programs() {
	runtime.LockOSThread()
	pin()
}

// Process has this process and all programs that it starts share one processor, on Linux, unless it
// runs benchmarks. TestMain calls it, after flag.Parse and before any test runs.
func Process() {
	if flag.Lookup("test.bench").Value.String() == "" {
		pinAll()
	}
}

// Undo undoes Process until the test ends. No other test may run at the time.
func Undo(t *testing.T) {
	if undo := unpinAll(); undo != nil {
		t.Cleanup(undo)
	}
}

// Package onecpu is for tests that mostly start programs, one after the other, and wait for them.
package onecpu

import "runtime"

// Programs has the programs that the calling goroutine starts from now on share one processor,
// as they would on a small machine: it wires the goroutine to its thread for good, and, on Linux,
// the thread to a processor. Each call takes the next processor that this process may use.
//
// Tests that run side by side take less time so. A program, rxring, and rxring's launcher wake each
// other up all the time, and on a virtual machine that costs a third of their time where it
// goes to another processor. Tests of what several processors do at a time must not call it.
func Programs() {
	runtime.LockOSThread()
	wire()
}

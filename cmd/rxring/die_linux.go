package main

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dieOf kills this process with the signal that killed the program, so that a shell sees the
// same as without rxring. It returns if the signal does not kill.
func dieOf(sig syscall.Signal) {
	// Dump no core: the program's is the one that matters.
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	// os/signal cannot remove the handlers of Go's runtime for some signals. A zeroed
	// struct sigaction is SIG_DFL.
	var dfl [32]byte
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&dfl)), 0, 8, 0, 0)
	unix.Kill(os.Getpid(), sig)
	// The signal may be delivered to another thread, a little later.
	unix.Select(0, nil, nil, nil, &unix.Timeval{Sec: 1})
}

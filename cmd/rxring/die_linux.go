package main

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dieOf ends this process by the signal that ended the program, so that a shell
// sees what it would have seen without rxring. It returns if the signal is not
// deadly.
func dieOf(sig syscall.Signal) {
	// The core, if any, is the program's to leave.
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	// Go's runtime has handlers of its own for some signals; os/signal cannot
	// take those off. A zeroed struct sigaction is SIG_DFL.
	var dfl [32]byte
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&dfl)), 0, 8, 0, 0)
	unix.Kill(os.Getpid(), sig)
	// The signal may be delivered to any thread: let it arrive.
	unix.Select(0, nil, nil, nil, &unix.Timeval{Sec: 1})
}

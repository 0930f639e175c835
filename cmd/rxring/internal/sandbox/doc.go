// Package sandbox takes from a daemon what it does not need. It has two steps, because
// most of it belongs to a thread, and a Go program has several before main begins:
//
//	reexec_linux.go      Enter: the thread that calls it gives up its user, capabilities
//	                     and the file system, and executes the program again, in the same
//	                     process, with the same arguments
//	capability_linux.go  which capabilities stay
//	landlock_linux.go    which files and TCP ports stay (landlock(7))
//	seccomp_linux.go     FilterCalls: which system calls stay, for all threads, once the
//	                     daemon has started
//
// go-landlock, the usual module for the third, restricts all threads by
// syscall.AllThreadsSyscall, which a program with cgo, or with purego in place of it,
// cannot call.
//
// The one invariant: nothing of it can be undone by the process.
package sandbox

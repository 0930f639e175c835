// Package sandbox removes rights that a daemon does not need. It has two steps, because most
// rights belong to a thread, and a Go program has several threads before main starts:
//
//	reexec_linux.go      Enter: the calling thread gives up its user, capabilities and the
//	                     file system, and executes the program again, in the same process
//	                     and with the same arguments
//	capability_linux.go  the capabilities that stay
//	landlock_linux.go    the files and TCP ports that stay (landlock(7))
//	seccomp_linux.go     FilterCalls: the system calls that stay, for all threads, after
//	                     the daemon has started
//
// It does not use go-landlock, which restricts all threads by syscall.AllThreadsSyscall: a
// program with cgo, or with purego in its place, cannot call that.
//
// The one invariant: the process can undo none of it.
package sandbox

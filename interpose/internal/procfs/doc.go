// Package procfs inspects other processes and threads through /proc: which
// processes descend from one, what their descriptors and mappings are, and their
// memory.
//
// A process or thread is named by its number in our PID namespace. Linux may give
// that number to another process as soon as the first one has ended, so a caller
// must know from elsewhere that what it read was the right one's: interpose asks the
// seccomp listener whether the notification is still valid.
//
// What /proc refuses to show (ptrace_may_access, kernel/ptrace.c) gives an error for
// which [Denied] is true.
package procfs

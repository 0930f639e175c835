// Package interpose runs an unmodified program, such as tcpdump, and serves its
// packet-socket system calls from an [rxring.Namespace].
//
// The program runs under a seccomp filter that lets nearly every system call
// pass untouched and asks the supervisor, a goroutine of this process, about
// the few that concern packet sockets. What the program holds as its packet
// socket is one end of a socket pair, so that poll, select, epoll, dup, fork,
// exec and signals are the kernel's own; the supervisor makes it readable when
// the ring has packets. mmap of it maps the ring's memory, and from then on
// packets reach the program without any call to us.
//
// The namespace may be another process's: see [Config.At].
//
// Wherever the program asks the kernel for network devices (rtnetlink, ioctl), it
// finds the namespace's, and no others.
//
// The one invariant: a call that the supervisor does not serve runs in the
// kernel exactly as the program made it.
//
// It is not a sandbox, and no security boundary around the program.
package interpose

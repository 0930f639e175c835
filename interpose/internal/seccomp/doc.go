// Package seccomp builds filters of system calls that ask a supervisor (seccomp user
// notification, seccomp_unotify(2)), and answers their notifications.
//
// [Assemble] turns [Rule] values into a filter, which the launcher installs. Its [Listener]
// receives notifications and answers each once: with a value, an errno, a descriptor, or by
// letting the kernel run the call.
package seccomp

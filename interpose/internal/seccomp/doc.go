// Package seccomp builds and installs filters of system calls that ask a supervisor
// (seccomp user notification, seccomp_unotify(2)), and answers their notifications.
//
// [Assemble] turns [Rule] values into a filter, [Install] installs it on the calling
// thread and returns the descriptor of its [Listener]. A supervisor then receives
// notifications and answers each once: with a value, an errno, a descriptor, or by
// letting the kernel run the call.
package seccomp

// Package launcher is the process between a program that calls interpose.Run and the program
// that is interposed: the first one, executed again.
//
// On one locked thread it installs the seccomp filter and starts the program, which inherits it.
// It stays to reap everything that the program leaves behind, so that the process that called Run
// need not wait for children that it does not know. If that process dies, it kills them.
//
// The launcher's work is done in this package's init function, which does not return then. Of the
// packages whose imports are initialized, Go initializes the first by path: one that imports little
// precedes nearly all others, of which large programs have hundreds. So this package imports neither
// fmt, strings nor x/sys/unix, and nothing that does.
package launcher

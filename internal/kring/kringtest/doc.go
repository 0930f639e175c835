// Package kringtest runs tests against the kernel's packet sockets, in namespaces
// of package kring. Programs that ship link kring, and not package testing.
//
// A test begins with [Run], which skips it with the reason where the machine
// does not allow a namespace. The package is empty off Linux.
package kringtest

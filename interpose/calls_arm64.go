//go:build linux

package interpose

// archSyscalls is empty: the C library makes the older calls from those of the table.
var archSyscalls []syscallEntry

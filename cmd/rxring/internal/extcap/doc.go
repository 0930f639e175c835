// Package extcap lists the devices of rxring's namespaces in Wireshark, and captures on them
// for it. It implements `rxring extcap`.
//
// Wireshark runs each program in its extcap directories with flags: first for the interfaces
// that the program has (extcap(4)), then for a capture, whose packets the program writes
// as pcapng into a FIFO.
//
//	namespaces.go  the namespaces of which a socket is known
//	fleet.go       namespaces that are the devices of a fleet
//	interface.go   the devices as Wireshark names them
//	sentences.go   what Wireshark asks for before a capture
//	capture.go     a capture, from beginning to end
//	fifo_unix.go   FIFOs whose other end may never open, or close
//	toolbar.go     drop counts in Wireshark's toolbar, while a capture runs
//	install.go     the script by which Wireshark finds rxring
//
// The one invariant: a process that Wireshark starts ends when Wireshark wants it to, or is
// gone: whatever the namespace's owner, Wireshark or a pipe between them does, no step waits
// without a limit.
package extcap

// Package dump is `rxring dump`: packets from a live interface, from a namespace that
// another process offers, or from a device of this process, as lines of text or as
// pcapng files.
//
//	config.go   what to do, and what cannot be
//	input.go    where packets come from, and the filter on them
//	reshape.go  packets as files of their link type have them
//	tags.go     VLAN tags, put back into the frame
//	run.go      a capture, from beginning to end
//	take.go     a packet's life: read, copied, filtered, written
//	text.go     a packet as a line
//	files.go    packets in pcapng files, one after the other
//	names.go    what those files are called
//	watch.go    the count that a person watches
//
// The one invariant: what is written was a packet, whole. From the ring of another
// process, which may take it back at any time, a packet is copied first, and written
// when it was still there after that.
package dump

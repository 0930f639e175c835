// Package dump implements `rxring dump`: it writes packets of live interfaces, of a
// namespace that another process offers, or of devices of this process, as lines of text
// or into capture files.
//
//	config.go       options and their limits
//	input.go        the device, or several
//	several.go      one socket of several devices, and its filter
//	order.go        packets of several devices in the order of time
//	device.go       a device's link type and filter
//	reshape.go      packets as files of their link type store them
//	run.go          a capture, from beginning to end
//	receive.go      a packet's life: received, copied, filtered, written
//	text.go         packets as lines, which package line formats
//	files.go        packets in a sequence of files; names.go names them
//	capturefile.go  one file, its interfaces and statistics
//	fifo_unix.go    FIFOs as outputs, and whether their readers are gone
//	hook.go         a command for each finished file
//	recorder.go     the flight recorder; history.go is its memory
//	losses.go       what was dropped between the packets of that memory
//	trigger_linux.go the socket of rxring dump trigger
//	format.go       pcapng or pcap, compressed or not
//	tcp.go          packets to clients that connect; client.go is one of them
//	progress.go     the counts, on a terminal and in the summary
//
// The one invariant: every packet written is a packet that was delivered, whole. A ring of
// another process can be reclaimed at any time, so its packets are copied first, and
// written only if the ring was still there after the copy.
package dump

// Package file feeds devices with the packets of a capture file, pcap or pcapng,
// also compressed by gzip or zstd: at the pace they were captured in, a multiple of
// it, or as fast as can be.
//
// [Open] reads the whole file once, to describe a device for each of its interfaces, with
// an MTU that fits its packets; [File.Start] reads it again and
// delivers. Packets of different devices keep the order of the file.
//
// The one invariant: a device is delivered the bytes that are in the file, never
// others. Of a packet that was truncated at its capture that is the beginning, and
// its length in the ring is that of the beginning; [Stats] counts them.
//
// The source does not wait for readers: a packet that finds no room in a reader's ring
// is dropped for that reader and counted there. At the recorded pace a reader that kept
// up with the traffic keeps up with the file. At full speed the file is faster than most
// readers; [Config].Room can slow the source down to the reader's speed.
package file

// Package file feeds devices with the packets of a capture file, pcap or pcapng,
// also compressed by gzip or zstd: at the pace they were captured in, a multiple of
// it, or as fast as can be.
//
// [Open] reads the file through once, so that there is a device for every interface
// it tells of, with an MTU that its packets fit in; [File.Start] reads it again and
// delivers. Packets of different devices keep the order of the file.
//
// The one invariant: a device is delivered the bytes that are in the file, never
// others. Of a packet that was cut when it was captured that is the beginning, and
// its length in the ring is that of the beginning; [Stats] counts them.
//
// Nobody waits for a reader, as everywhere: what a reader's ring has no room for is
// lost to it and counted there. At the recorded pace a reader that kept up with the
// traffic keeps up with the file. At full speed the file is faster than most
// readers: who knows how far its reader is holds the source back by [Config].Room.
package file

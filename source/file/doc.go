// Package file replays capture files, pcap or pcapng, also compressed by gzip or zstd, into
// devices: at the recorded pace, a multiple of it, or as fast as possible.
//
// [Open] reads the file through once, to describe a device for each interface in it, with an
// MTU that its packets fit in; [File.Start] reads it again and delivers. Packets of different
// devices keep the order of the file.
//
// The one invariant: a device is delivered only bytes that are in the file. Of a packet that
// was truncated when it was captured that is the beginning, whose length is the packet's length
// in the ring; [Stats] counts them.
//
// As everywhere, no reader is waited for: packets for which a reader's ring has no room are
// dropped and counted there. At the recorded pace a reader that kept up with the traffic keeps
// up with the file. At full speed the file is faster than most readers: a program that knows
// its reader's progress can hold the source back with [Config].Room.
package file

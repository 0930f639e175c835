// Package capfile reads capture files, pcap and pcapng, also compressed by gzip or zstd, and
// writes both. All of it is sequential, so that a pipe is enough.
//
// The one invariant: memory is bounded whatever a file contains. A length in a file is checked
// against its limit before memory is allocated, or bytes are read, for it.
//
// A [Reader] returns a sequence of packets, each with the index of its interface;
// [Reader.Interfaces] lists those. A [Writer] accepts the same, and so does a [PcapWriter], which
// keeps less.
//
// gopacket's pcapgo (v1.7.7) is not enough. Its pcap reader refuses records whose captured
// length is above their length, the modified format and old versions, all of which libpcap
// reads. Its pcapng reader reads wrong times from interfaces whose resolution is a power of
// two, reads flags of big-endian sections as little-endian, never checks the lengths of packets
// and options against their block's, and keeps every name record; its writer allocates for each
// packet that has a direction and supports two of five statistics.
package capfile

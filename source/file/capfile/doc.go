// Package capfile reads capture files, pcap and pcapng, also compressed by gzip or
// zstd, and writes pcapng. Both go from front to back: a pipe will do.
//
// The one invariant: memory is bounded whatever a file says. A length that a file
// names is compared with what it can be before anything is made or read for it.
//
// What a [Reader] gives is a sequence of packets, each with the number of its
// interface; [Reader.Interfaces] lists those. What a [Writer] gets is the same.
//
// gopacket's pcapgo (v1.7.7) would not do. Its pcap reader refuses records whose
// captured length is above their length, the modified format and old versions, all
// of which libpcap reads. Its pcapng reader takes wrong times from interfaces whose
// resolution is a power of two, takes flags of big-endian sections for
// little-endian, never compares the lengths of packets and options with their
// block's, and keeps every name record; its writer allocates for each packet that
// has a direction and knows two of five statistics.
package capfile

// Package verify checks captured streams for torn packets.
//
// It reads a capture file, pcap or pcapng, and finds the packets of package
// source/netstack/streams. Their content names its stream and position, so each
// packet is compared byte for byte with the stream, and its headers with its
// content: a connection carries one stream, and a sequence number has one
// place in it.
//
// The one invariant: a packet is reported as torn only if no sequence of TCP
// segments, even lost, repeated or truncated ones, explains it. All other
// packets in the file are foreign and only counted.
package verify

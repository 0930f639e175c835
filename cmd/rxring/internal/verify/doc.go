// Package verify checks captured streams: was any packet torn?
//
// It reads a capture file, pcap or pcapng, and looks for packets of package
// source/streams. Their content says which stream it belongs to, so each packet
// is compared with what it must hold, byte for byte, and its headers with its
// content: a connection carries one stream, and a sequence number has one
// place in it.
//
// The one invariant: a packet is called torn only if no sequence of TCP
// segments, lost, repeated or cut by the snapshot length as may be, explains
// it. Everything else in the file is foreign, and only counted.
package verify

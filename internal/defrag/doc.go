// Package defrag reassembles IPv4 packets as Linux does (net/ipv4/ip_fragment.c,
// net/ipv4/inet_fragment.c): an overlap drops the packet, a repeated fragment is dropped,
// and so is a packet whose other fragments do not arrive in time.
//
// A [Table] limits memory and time by Linux's own defaults: no sender can keep it full for
// long.
package defrag

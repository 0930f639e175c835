// Package defrag puts the fragments of IPv4 packets together as Linux does
// (net/ipv4/ip_fragment.c, net/ipv4/inet_fragment.c): what overlaps ends a packet,
// what comes twice is dropped, and so is a packet whose other fragments stay away.
//
// A [Table] is bounded in memory and in time by Linux's own defaults: nobody can
// fill it for long, whatever he sends.
package defrag

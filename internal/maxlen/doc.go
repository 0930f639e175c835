// Package maxlen says how long the packets of a kernel interface get: its MTU, or more
// where segments are sent or merged (TSO, GSO, GRO, LRO), up to what was set for BIG TCP
// (gso_max_size, gro_max_size, and both of IPv4). It asks in the calling thread's network namespace and
// needs no privilege.
//
// The other end of a veth pair sends segments by its own settings: who turns off the
// offloads of one end alone still gets longer packets there, in Linux, too.
//
// The package is empty off Linux.
package maxlen

// Package maxlen determines the length of a kernel interface's longest packets: its MTU, or
// with segmentation or receive offloads (TSO, GSO, GRO, LRO) the limits for BIG TCP
// (gso_max_size, gro_max_size and the two for IPv4). It queries the calling thread's network
// namespace and needs no privilege.
//
// The settings of one end of a veth pair do not bound what it receives: the other end sends
// segments by its own settings.
//
// On other systems than Linux the package is empty.
package maxlen

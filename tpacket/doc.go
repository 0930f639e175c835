// Package tpacket defines the ABI of Linux's packet-socket rings: status bits, the
// frame headers of TPACKET_V1, V2 and V3, sockaddr_ll, ring requests with the errno for
// each invalid one, and the geometry of a ring.
//
// It mirrors include/uapi/linux/if_packet.h and the checks of
// net/packet/af_packet.c, in host byte order, for 64-bit programs. It is pure:
// it holds no ring, makes no system call, and builds everywhere.
//
// One rule holds for everything in it: a value read from memory that another
// process can write is copied once into a local variable, then checked.
package tpacket

// Package linktype says how packets of capture files, by their link type
// (LINKTYPE_*), are shown by devices, which have Linux's hardware types (ARPHRD_*).
//
// libpcap decides by a device's hardware type which link type a live capture has
// (map_arphrd_to_dlt in its pcap-linux.c). So a link type belongs to one of three
// groups. Of the first, a hardware type has the link type: packets go to such a
// device as they are in the file. Of the second, the link-layer header tells no more
// than a sockaddr_ll can: packets go without it to a device that libpcap opens
// cooked, and the header's contents to the sockaddr_ll. Of the third, no device can
// show the packets.
//
// The one invariant: what [Link.Decode] returns lies within the bytes it was given.
package linktype

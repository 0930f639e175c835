// Package linktype says how packets of capture files, by their link type
// (LINKTYPE_*), are shown by devices, which have Linux's hardware types (ARPHRD_*).
//
// libpcap decides by a device's hardware type which link type a live capture has
// (map_arphrd_to_dlt in its pcap-linux.c). So a link type belongs to one of three
// groups. First, those that some hardware type has: a device of that type gets the packets
// as they are in the file. Second, those whose link-layer header holds no more than a
// sockaddr_ll can: a device that libpcap opens cooked gets the packets without the header,
// and its contents in the sockaddr_ll. Third, those that no device can show.
//
// The one invariant: what [Link.Decode] returns lies within the bytes it was given.
package linktype

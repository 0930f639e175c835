// Package linktype maps the link types of capture files (LINKTYPE_*) to the devices that can
// show their packets, which have Linux's hardware types (ARPHRD_*).
//
// libpcap derives a live capture's link type from the device's hardware type
// (map_arphrd_to_dlt in its pcap-linux.c). So there are three groups of link types. In the
// first, a hardware type has the link type: packets are delivered unchanged to such a device.
// In the second, a sockaddr_ll can represent the link-layer header: packets are delivered
// without it to a device that libpcap opens cooked, with its contents in the sockaddr_ll. In
// the third, no device can show the packets.
//
// The one invariant: what [Link.Decode] returns lies within the bytes it was given.
package linktype

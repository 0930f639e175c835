// Package tap captures a device's packets in the form of capture files, for those who send them
// elsewhere as pcapng.
//
// The one invariant: a client's filter costs the device's writers no more than a short program
// for each packet. A longer one, or one with loads that search the packet, runs where the packets
// are read: writers and other readers do not pay for it.
package tap

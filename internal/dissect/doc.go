// Package dissect walks through a packet's headers as Linux's flow dissector does
// (net/core/flow_dissector.c): to the transport header, which classic BPF's payload
// offset needs, and past the addresses and ports that make a flow, which fanout
// groups hash.
//
// Followed are VLAN tags, PPPoE, IPv4, IPv6 with its extension headers, GRE, IP in
// IP, and the ports at the end; ARP ends a walk at its header, MPLS behind its
// first label. Linux knows some more EtherTypes (TIPC, FCoE, HSR, PTP,
// B.A.T.M.A.N.), which end it here.
//
// Nothing that a packet says is believed beyond its own bytes, and a walk takes 15
// headers at most.
package dissect

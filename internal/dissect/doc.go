// Package dissect walks through a packet's headers as Linux's flow dissector does
// (net/core/flow_dissector.c): to the transport header, which classic BPF's payload
// offset needs, and past the addresses and ports of a flow, which fanout
// groups hash.
//
// A walk follows VLAN tags, PPPoE, IPv4, IPv6 with its extension headers, GRE, IP in
// IP, and the ports at the end; ARP ends a walk at its header, MPLS behind its
// first label. Linux knows some more EtherTypes (TIPC, FCoE, HSR, PTP,
// B.A.T.M.A.N.), which end it here.
//
// Lengths in a packet are never trusted beyond its own bytes, and a walk ends after at most
// 15 headers.
package dissect

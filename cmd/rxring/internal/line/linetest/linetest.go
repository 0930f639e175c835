// Package linetest makes packets for tests.
package linetest

import (
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// The addresses of Ether.
var (
	Us   = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	Peer = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// Frame returns the bytes of a packet of these layers.
func Frame(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, all...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Ether returns an Ethernet header.
func Ether(kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: Us, DstMAC: Peer, EthernetType: kind}
}

// IP4 returns a header from 192.0.2.1 to 192.0.2.2.
func IP4(p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: p, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
}

// IP6 returns a header from 2001:db8::1 to 2001:db8::2.
func IP6(p layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: p, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
}

// VLAN returns an 802.1Q tag.
func VLAN(id uint16, kind layers.EthernetType) *layers.Dot1Q {
	return &layers.Dot1Q{VLANIdentifier: id, Type: kind}
}

// Payload is five bytes.
var Payload = gopacket.Payload("hello")

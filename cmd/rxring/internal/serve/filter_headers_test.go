package serve

import (
	"bytes"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// packet puts layers together, and payload behind them. NetOff and Protocol are what
// a device would say.
func packet(t *testing.T, ls ...gopacket.SerializableLayer) *cbpf.Packet {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, ls...); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
	p := &cbpf.Packet{Data: data, Len: uint32(len(data)), Hatype: tpacket.ARPHRDEther, NetOff: etherLen}
	if eth, ok := ls[0].(*layers.Ethernet); ok {
		p.Protocol = uint16(eth.EthernetType)
		if eth.EthernetType == layers.EthernetTypeLLC {
			p.Protocol = 4 // ETH_P_802_2
		}
	} else {
		p.Hatype, p.NetOff, p.Protocol = tpacket.ARPHRDNone, 0, tpacket.ETHPIP
		if data[0]>>4 == 6 {
			p.Protocol = tpacket.ETHPIPv6
		}
	}
	return p
}

func TestHeadersReturnsWhereTheHeadersEnd(t *testing.T) {
	var (
		mac     = net.HardwareAddr{2, 0, 0, 0, 0, 1}
		a, b    = net.IP{192, 0, 2, 1}, net.IP{192, 0, 2, 2}
		a6, b6  = net.ParseIP("2001:db8::1"), net.ParseIP("2001:db8::2")
		payload = gopacket.Payload(bytes.Repeat([]byte("secret"), 100))
	)
	eth := func(t layers.EthernetType) *layers.Ethernet {
		return &layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: t}
	}
	ip4 := func(p layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 64, Protocol: p, SrcIP: a, DstIP: b}
	}
	ip6 := func(p layers.IPProtocol) *layers.IPv6 {
		return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: p, SrcIP: a6, DstIP: b6}
	}
	options := &layers.TCP{SrcPort: 1, DstPort: 2, Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: make([]byte, 8)}}}
	plain := &layers.TCP{SrcPort: 1, DstPort: 2}
	udp := &layers.UDP{SrcPort: 1, DstPort: 2}
	lsrr := ip4(layers.IPProtocolTCP)
	lsrr.Options = []layers.IPv4Option{{OptionType: 131, OptionLength: 7, OptionData: make([]byte, 5)}}
	first, later := ip4(layers.IPProtocolUDP), ip4(layers.IPProtocolUDP)
	first.Flags, later.FragOffset = layers.IPv4MoreFragments, 100
	vlan := func(t layers.EthernetType) *layers.Dot1Q { return &layers.Dot1Q{VLANIdentifier: 7, Type: t} }

	tests := []struct {
		name string
		p    *cbpf.Packet
		want uint32
	}{
		{"TCP over IPv4", packet(t, eth(tpacket.ETHPIP), ip4(6), plain, payload), 14 + 20 + 20},
		{"TCP with options", packet(t, eth(tpacket.ETHPIP), ip4(6), options, payload), 14 + 20 + 32},
		{"IPv4 with options", packet(t, eth(tpacket.ETHPIP), lsrr, plain, payload), 14 + 28 + 20},
		{"UDP over IPv4", packet(t, eth(tpacket.ETHPIP), ip4(17), udp, payload), 14 + 20 + 8},
		{"ICMP", packet(t, eth(tpacket.ETHPIP), ip4(1), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}, payload), 14 + 20 + 8},
		{"SCTP", packet(t, eth(tpacket.ETHPIP), ip4(132), &layers.SCTP{SrcPort: 1, DstPort: 2}, payload), 14 + 20 + 12},
		{"the first fragment", packet(t, eth(tpacket.ETHPIP), first, udp, payload), 14 + 20 + 8},
		{"a later fragment", packet(t, eth(tpacket.ETHPIP), later, payload), 14 + 20},
		{"another protocol", packet(t, eth(tpacket.ETHPIP), ip4(47), payload), 14 + 20},
		{"ICMPv6's number over IPv4", packet(t, eth(tpacket.ETHPIP), ip4(58), payload), 14 + 20},
		{"TCP over IPv6", packet(t, eth(tpacket.ETHPIPv6), ip6(6), options, payload), 14 + 40 + 32},
		{"UDP over IPv6", packet(t, eth(tpacket.ETHPIPv6), ip6(17), udp, payload), 14 + 40 + 8},
		{"ICMPv6", packet(t, eth(tpacket.ETHPIPv6), ip6(58), payload), 14 + 40 + 8},
		{"ICMP's number over IPv6", packet(t, eth(tpacket.ETHPIPv6), ip6(1), payload), 14 + 40},
		{"an extension header", packet(t, eth(tpacket.ETHPIPv6), ip6(60), payload), 14 + 40},
		{"one VLAN tag", packet(t, eth(tpacket.ETHP8021Q), vlan(tpacket.ETHPIP), ip4(17), udp, payload), 14 + 4 + 20 + 8},
		{"two VLAN tags", packet(t, eth(tpacket.ETHP8021AD), vlan(tpacket.ETHP8021Q), vlan(tpacket.ETHPIPv6), ip6(6), options, payload), 14 + 8 + 40 + 32},
		{"three VLAN tags", packet(t, eth(tpacket.ETHP8021AD), vlan(tpacket.ETHP8021Q), vlan(tpacket.ETHP8021Q), vlan(tpacket.ETHPIP), ip4(6), plain, payload), 14 + 8},
		{"ARP", packet(t, eth(tpacket.ETHPARP), &layers.ARP{AddrType: 1, Protocol: tpacket.ETHPIP, HwAddressSize: 6, ProtAddressSize: 4, SourceHwAddress: mac, SourceProtAddress: a, DstHwAddress: mac, DstProtAddress: b}, payload), 14 + 28},
		{"ARP of other addresses", packet(t, eth(tpacket.ETHPARP), &layers.ARP{AddrType: 1, Protocol: tpacket.ETHPIP, HwAddressSize: 6, ProtAddressSize: 16, SourceHwAddress: mac, SourceProtAddress: a6, DstHwAddress: mac, DstProtAddress: b6}, payload), 14 + 8},
		{"another EtherType", packet(t, eth(0x88b5), payload), 14},
		{"an 802.3 frame", packet(t, eth(layers.EthernetTypeLLC), payload), 14},
		{"IPv4 that is none", packet(t, eth(tpacket.ETHPIP), payload), 14},
		{"IPv6 that is none", packet(t, eth(tpacket.ETHPIPv6), payload), 14},
		{"raw IPv4", packet(t, ip4(6), options, payload), 20 + 32},
		{"raw IPv6", packet(t, ip6(17), udp, payload), 40 + 8},
		{"a TCP header that says it has 16 bytes", short(packet(t, eth(tpacket.ETHPIP), ip4(6), plain, payload), 14+20+12, 0x40), 14 + 20},
		{"an IPv4 header that says it has 16 bytes", short(packet(t, eth(tpacket.ETHPIP), ip4(6), plain, payload), 14, 0x44), 14},
		{"a packet that is cut off in its IPv4 header", cut(packet(t, eth(tpacket.ETHPIP), ip4(6), plain, payload), 14+8), 0},
		{"a packet that is cut off in its TCP header", cut(packet(t, eth(tpacket.ETHPIP), ip4(6), plain, payload), 14+20+12), 0},
	}
	f, err := cbpf.Compile(Headers())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		if got := f.Run(tt.p); got != tt.want {
			t.Errorf("%s: %d bytes: want %d", tt.name, got, tt.want)
		}
		if tt.want > headersSnaplen {
			t.Errorf("%s: %d bytes are more than headersSnaplen, %d", tt.name, tt.want, headersSnaplen)
		}
		tt.p.Rest = [][]byte{tt.p.Data[etherLen:]} // in two pieces
		tt.p.Data = tt.p.Data[:etherLen]
		if got := f.Run(tt.p); got != tt.want {
			t.Errorf("%s, in two pieces: %d bytes: want %d", tt.name, got, tt.want)
		}
	}
}

func short(p *cbpf.Packet, at int, b byte) *cbpf.Packet {
	p.Data[at] = b
	return p
}

func cut(p *cbpf.Packet, n uint32) *cbpf.Packet {
	p.Data, p.Len = p.Data[:n], n
	return p
}

// udpPackets are one of IPv4 and one of IPv6, in Ethernet frames.
func udpPackets(t *testing.T) (four, six *cbpf.Packet) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	udp, payload := &layers.UDP{SrcPort: 1, DstPort: 2}, gopacket.Payload(make([]byte, 300))
	four = packet(t, &layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: tpacket.ETHPIP},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: protoUDP, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}, udp, payload)
	six = packet(t, &layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: tpacket.ETHPIPv6},
		&layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protoUDP, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}, udp, payload)
	return four, six
}

package dump

import (
	"bytes"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/rxring/rxring/source/file/capfile"
)

var (
	us   = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	peer = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

func frame(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, all...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func ether(kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: us, DstMAC: peer, EthernetType: kind}
}

func ip4(p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: p, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
}

func ip6(p layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: p, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
}

func vlan(id uint16, kind layers.EthernetType) *layers.Dot1Q {
	return &layers.Dot1Q{VLANIdentifier: id, Type: kind}
}

var payload = gopacket.Payload("hello")

func TestLines(t *testing.T) {
	moment := time.Date(2026, 11, 27, 20, 31, 2, 123456789, time.Local)
	arp := func(op uint16) *layers.ARP {
		return &layers.ARP{AddrType: 1, Protocol: 0x0800, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
			SourceHwAddress: us, SourceProtAddress: []byte{192, 0, 2, 1}, DstHwAddress: peer, DstProtAddress: []byte{192, 0, 2, 2}}
	}
	fragment := ip4(layers.IPProtocolUDP)
	fragment.FragOffset = 185
	tcp := &layers.TCP{SrcPort: 1025, DstPort: 80, SYN: true, ACK: true, ECE: true}
	udp := &layers.UDP{SrcPort: 53, DstPort: 5353}
	whole := frame(t, ether(0x0800), ip4(layers.IPProtocolTCP), tcp, payload)
	for _, story := range []struct {
		name string
		link capfile.LinkType
		data []byte
		want string
	}{
		{"TCP", capfile.LinkEthernet, whole, "IP 192.0.2.1.1025 > 192.0.2.2.80: TCP [S.E], 60 bytes"},
		{"UDP over IPv6, raw", capfile.LinkRaw, frame(t, ip6(layers.IPProtocolUDP), udp, payload), "IP6 2001:db8::1.53 > 2001:db8::2.5353: UDP, 53 bytes"},
		{"UDP over IPv4, raw", capfile.LinkRaw, frame(t, ip4(layers.IPProtocolUDP), udp, payload), "IP 192.0.2.1.53 > 192.0.2.2.5353: UDP, 33 bytes"},
		{"VLAN", capfile.LinkEthernet, frame(t, ether(0x8100), vlan(5, 0x0800), ip4(layers.IPProtocolUDP), udp), "vlan 5 IP 192.0.2.1.53 > 192.0.2.2.5353: UDP, 60 bytes"},
		{"ping", capfile.LinkEthernet, frame(t, ether(0x0800), ip4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}), "IP 192.0.2.1 > 192.0.2.2: ICMP EchoRequest, 60 bytes"},
		{"ping over IPv6", capfile.LinkEthernet, frame(t, ether(0x86dd), ip6(layers.IPProtocolICMPv6), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}), "IP6 2001:db8::1 > 2001:db8::2: ICMP6 EchoRequest, 60 bytes"},
		{"who-has", capfile.LinkEthernet, frame(t, ether(0x0806), arp(1)), "ARP who-has 192.0.2.2 tell 192.0.2.1, 60 bytes"},
		{"is-at", capfile.LinkEthernet, frame(t, ether(0x0806), arp(2)), "ARP reply 192.0.2.1 is-at 02:00:00:00:00:01, 60 bytes"},
		{"fragment", capfile.LinkEthernet, frame(t, ether(0x0800), fragment, payload), "IP 192.0.2.1 > 192.0.2.2: UDP fragment at 1480, 60 bytes"},
		{"GRE", capfile.LinkEthernet, frame(t, ether(0x0800), ip4(layers.IPProtocolGRE), payload), "IP 192.0.2.1 > 192.0.2.2: GRE, 60 bytes"},
		{"unknown", capfile.LinkEthernet, frame(t, ether(0x88b5), payload), "02:00:00:00:00:01 > 02:00:00:00:00:02: 0x88b5, 60 bytes"},
		{"cut within TCP", capfile.LinkEthernet, whole[:40], "IP 192.0.2.1 > 192.0.2.2: TCP [truncated or malformed], 40 bytes"},
		{"cut within Ethernet", capfile.LinkEthernet, whole[:9], "[truncated or malformed], 9 bytes"},
		{"nothing", capfile.LinkRaw, nil, "[truncated or malformed], 0 bytes"},
	} {
		l := newLiner(story.link)
		got := string(l.append(nil, &packet{time: moment.UnixNano(), len: len(story.data), data: story.data, outgoing: true}))
		if want := "20:31:02.123456 Out " + story.want + "\n"; got != want {
			t.Errorf("%s: %swant %s", story.name, got, want)
		}
		got = string(l.append(nil, &packet{time: moment.UnixNano(), len: 7, data: story.data}))
		if !strings.HasPrefix(got, "20:31:02.123456 In  ") || !strings.HasSuffix(got, ", 7 bytes\n") {
			t.Errorf("%s: %s", story.name, got)
		}
	}
}

// FuzzLine wants one line of every packet.
func FuzzLine(f *testing.F) {
	f.Add(frame(f, ether(0x0800), ip4(layers.IPProtocolTCP), &layers.TCP{SrcPort: 1}), false)
	f.Add(frame(f, ether(0x8100), vlan(5, 0x86dd), ip6(layers.IPProtocolUDP), &layers.UDP{}), false)
	f.Add(frame(f, ip6(layers.IPProtocolICMPv6), &layers.ICMPv6{}), true)
	l := map[bool]*liner{false: newLiner(capfile.LinkEthernet), true: newLiner(capfile.LinkRaw)}
	f.Fuzz(func(t *testing.T, data []byte, raw bool) {
		got := l[raw].append(nil, &packet{data: data, len: len(data)})
		if bytes.Count(got, []byte("\n")) != 1 || got[len(got)-1] != '\n' || bytes.ContainsFunc(got[:len(got)-1], func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q", got)
		}
	})
}

func BenchmarkLine(b *testing.B) {
	data := frame(b, ether(0x0800), ip4(layers.IPProtocolTCP), &layers.TCP{SrcPort: 1025, DstPort: 80, ACK: true}, gopacket.Payload(make([]byte, 1400)))
	l := newLiner(capfile.LinkEthernet)
	p := &packet{time: rand.Int64N(1 << 60), len: len(data), data: data}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = l.append(buf[:0], p)
	}
}

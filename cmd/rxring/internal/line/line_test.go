package line

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/rxring/rxring/cmd/rxring/internal/line/linetest"
	"github.com/rxring/rxring/source/file/capfile"
)

func TestLines(t *testing.T) {
	moment := time.Date(2026, 11, 27, 20, 31, 2, 123456789, time.Local)
	arp := func(op uint16) *layers.ARP {
		return &layers.ARP{AddrType: 1, Protocol: 0x0800, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
			SourceHwAddress: linetest.Us, SourceProtAddress: []byte{192, 0, 2, 1}, DstHwAddress: linetest.Peer, DstProtAddress: []byte{192, 0, 2, 2}}
	}
	fragment := linetest.IP4(layers.IPProtocolUDP)
	fragment.FragOffset = 185
	tcp := &layers.TCP{SrcPort: 1025, DstPort: 80, SYN: true, ACK: true, ECE: true}
	udp := &layers.UDP{SrcPort: 53, DstPort: 5353}
	whole := linetest.Frame(t, linetest.Ether(0x0800), linetest.IP4(layers.IPProtocolTCP), tcp, linetest.Payload)
	for _, story := range []struct {
		name string
		link capfile.LinkType
		data []byte
		want string
	}{
		{"TCP", capfile.LinkEthernet, whole, "IP 192.0.2.1.1025 > 192.0.2.2.80: TCP [S.E], 60 bytes"},
		{"UDP over IPv6, raw", capfile.LinkRaw, linetest.Frame(t, linetest.IP6(layers.IPProtocolUDP), udp, linetest.Payload), "IP6 2001:db8::1.53 > 2001:db8::2.5353: UDP, 53 bytes"},
		{"UDP over IPv4, raw", capfile.LinkRaw, linetest.Frame(t, linetest.IP4(layers.IPProtocolUDP), udp, linetest.Payload), "IP 192.0.2.1.53 > 192.0.2.2.5353: UDP, 33 bytes"},
		{"VLAN", capfile.LinkEthernet, linetest.Frame(t, linetest.Ether(0x8100), linetest.VLAN(5, 0x0800), linetest.IP4(layers.IPProtocolUDP), udp), "vlan 5 IP 192.0.2.1.53 > 192.0.2.2.5353: UDP, 60 bytes"},
		{"ping", capfile.LinkEthernet, linetest.Frame(t, linetest.Ether(0x0800), linetest.IP4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}), "IP 192.0.2.1 > 192.0.2.2: ICMP EchoRequest, 60 bytes"},
		{"ping over IPv6", capfile.LinkEthernet, linetest.Frame(t, linetest.Ether(0x86dd), linetest.IP6(layers.IPProtocolICMPv6), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}), "IP6 2001:db8::1 > 2001:db8::2: ICMP6 EchoRequest, 60 bytes"},
		{"who-has", capfile.LinkEthernet, linetest.Frame(t, linetest.Ether(0x0806), arp(1)), "ARP who-has 192.0.2.2 tell 192.0.2.1, 60 bytes"},
		{"is-at", capfile.LinkEthernet, linetest.Frame(t, linetest.Ether(0x0806), arp(2)), "ARP reply 192.0.2.1 is-at 02:00:00:00:00:01, 60 bytes"},
		{"fragment", capfile.LinkEthernet, linetest.Frame(t, linetest.Ether(0x0800), fragment, linetest.Payload), "IP 192.0.2.1 > 192.0.2.2: UDP fragment at 1480, 60 bytes"},
		{"GRE", capfile.LinkEthernet, linetest.Frame(t, linetest.Ether(0x0800), linetest.IP4(layers.IPProtocolGRE), linetest.Payload), "IP 192.0.2.1 > 192.0.2.2: GRE, 60 bytes"},
		{"unknown", capfile.LinkEthernet, linetest.Frame(t, linetest.Ether(0x88b5), linetest.Payload), "02:00:00:00:00:01 > 02:00:00:00:00:02: 0x88b5, 60 bytes"},
		{"cut within TCP", capfile.LinkEthernet, whole[:40], "IP 192.0.2.1 > 192.0.2.2: TCP [truncated or malformed], 40 bytes"},
		{"cut within Ethernet", capfile.LinkEthernet, whole[:9], "[truncated or malformed], 9 bytes"},
		{"nothing", capfile.LinkRaw, nil, "[truncated or malformed], 0 bytes"},
	} {
		l := New(story.link)
		got := string(l.Append(nil, &Packet{Time: moment.UnixNano(), Len: len(story.data), Data: story.data, Outgoing: true}))
		if want := "20:31:02.123456 Out " + story.want + "\n"; got != want {
			t.Errorf("%s: %swant %s", story.name, got, want)
		}
		got = string(l.Append(nil, &Packet{Time: moment.UnixNano(), Len: 7, Data: story.data}))
		if !strings.HasPrefix(got, "20:31:02.123456 In  ") || !strings.HasSuffix(got, ", 7 bytes\n") {
			t.Errorf("%s: %s", story.name, got)
		}
	}
}

// FuzzLine wants one line of every packet.
func FuzzLine(f *testing.F) {
	f.Add(linetest.Frame(f, linetest.Ether(0x0800), linetest.IP4(layers.IPProtocolTCP), &layers.TCP{SrcPort: 1}), false)
	f.Add(linetest.Frame(f, linetest.Ether(0x8100), linetest.VLAN(5, 0x86dd), linetest.IP6(layers.IPProtocolUDP), &layers.UDP{}), false)
	f.Add(linetest.Frame(f, linetest.IP6(layers.IPProtocolICMPv6), &layers.ICMPv6{}), true)
	l := map[bool]*Liner{false: New(capfile.LinkEthernet), true: New(capfile.LinkRaw)}
	f.Fuzz(func(t *testing.T, data []byte, raw bool) {
		got := l[raw].Append(nil, &Packet{Data: data, Len: len(data)})
		if bytes.Count(got, []byte("\n")) != 1 || got[len(got)-1] != '\n' || bytes.ContainsFunc(got[:len(got)-1], func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q", got)
		}
	})
}

func BenchmarkLine(b *testing.B) {
	data := linetest.Frame(b, linetest.Ether(0x0800), linetest.IP4(layers.IPProtocolTCP), &layers.TCP{SrcPort: 1025, DstPort: 80, ACK: true}, gopacket.Payload(make([]byte, 1400)))
	l := New(capfile.LinkEthernet)
	p := &Packet{Time: rand.Int64N(1 << 60), Len: len(data), Data: data}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = l.Append(buf[:0], p)
	}
}

func TestColumns(t *testing.T) {
	tcp := &layers.TCP{SrcPort: 1025, DstPort: 80, SYN: true, ACK: true, Seq: 7, Ack: 8, Window: 512}
	whole := linetest.Frame(t, linetest.Ether(0x0800), linetest.IP4(layers.IPProtocolTCP), tcp, linetest.Payload)
	udp := &layers.UDP{SrcPort: 53, DstPort: 5353}
	for _, story := range []struct {
		name string
		link capfile.LinkType
		data []byte
		want Columns
	}{
		{"TCP", capfile.LinkEthernet, whole, Columns{"192.0.2.1.1025", "192.0.2.2.80", "TCP", "[S.] seq 7 ack 8 win 512"}},
		{"UDP over IPv6, raw", capfile.LinkRaw, linetest.Frame(t, linetest.IP6(layers.IPProtocolUDP), udp, linetest.Payload), Columns{"2001:db8::1.53", "2001:db8::2.5353", "UDP", "length 13"}},
		{"VLAN", capfile.LinkEthernet, linetest.Frame(t, linetest.Ether(0x8100), linetest.VLAN(5, 0x0800), linetest.IP4(layers.IPProtocolUDP), udp), Columns{"192.0.2.1.53", "192.0.2.2.5353", "UDP", "vlan 5 length 8"}},
		{"unknown", capfile.LinkEthernet, linetest.Frame(t, linetest.Ether(0x88b5), linetest.Payload), Columns{"02:00:00:00:00:01", "02:00:00:00:00:02", "0x88b5", ""}},
		{"cut within TCP", capfile.LinkEthernet, whole[:40], Columns{"192.0.2.1", "192.0.2.2", "TCP", truncated}},
		{"nothing", capfile.LinkRaw, nil, Columns{Info: truncated}},
	} {
		if got := New(story.link).Columns(story.data); got != story.want {
			t.Errorf("%s: %+v, want %+v", story.name, got, story.want)
		}
	}
}

package line

import (
	"strconv"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Columns is a packet in a table. All of it is printable ASCII.
type Columns struct {
	From, To string // addresses with ports, as in the line; "": not known
	Protocol string
	Info     string
}

// Columns returns the columns of a packet, as far as its headers can be decoded.
func (l *Liner) Columns(data []byte) (c Columns) {
	other, whole := l.decode(data)
	if other != "" {
		return Columns{Info: other}
	}
	c = l.columns()
	if l.tagged() {
		c.Info = join("vlan "+strconv.Itoa(int(l.vlan.VLANIdentifier)), c.Info)
	}
	if !whole {
		c.Info = join(c.Info, truncated)
	}
	return c
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " " + b
}

// columns returns the columns by the last header.
func (l *Liner) columns() Columns {
	switch last := l.last(); last {
	case layers.LayerTypeTCP:
		c := l.addresses("TCP", uint16(l.tcp.SrcPort), uint16(l.tcp.DstPort), true)
		b := append(l.flags([]byte{'['}), "] seq "...)
		b = strconv.AppendUint(b, uint64(l.tcp.Seq), 10)
		if l.tcp.ACK {
			b = strconv.AppendUint(append(b, " ack "...), uint64(l.tcp.Ack), 10)
		}
		c.Info = string(strconv.AppendUint(append(b, " win "...), uint64(l.tcp.Window), 10))
		return c
	case layers.LayerTypeUDP:
		c := l.addresses("UDP", uint16(l.udp.SrcPort), uint16(l.udp.DstPort), true)
		c.Info = "length " + strconv.Itoa(int(l.udp.Length))
		return c
	case layers.LayerTypeICMPv4:
		c := l.addresses("ICMP", 0, 0, false)
		c.Info = l.icmp4.TypeCode.String()
		return c
	case layers.LayerTypeICMPv6:
		c := l.addresses("ICMP6", 0, 0, false)
		c.Info = l.icmp6.TypeCode.String()
		return c
	case layers.LayerTypeIPv4:
		c := l.addresses(l.ip4.Protocol.String(), 0, 0, false)
		if l.ip4.FragOffset > 0 || l.ip4.Flags&layers.IPv4MoreFragments != 0 {
			c.Info = "fragment at " + strconv.Itoa(int(l.ip4.FragOffset)*8)
		}
		return c
	case layers.LayerTypeIPv6:
		return l.addresses(l.ip6.NextHeader.String(), 0, 0, false)
	default:
		return l.linkColumns(last)
	}
}

// linkColumns returns the columns of a packet without an IP header.
func (l *Liner) linkColumns(last gopacket.LayerType) (c Columns) {
	if l.found[0] == layers.LayerTypeEthernet {
		c.From, c.To = l.eth.SrcMAC.String(), l.eth.DstMAC.String()
	}
	switch last {
	case layers.LayerTypeARP:
		c.Protocol = "ARP"
		c.Info = string(l.arpLine(nil)[len("ARP "):])
	case layers.LayerTypeEthernet:
		c.Protocol = etherType(l.eth.EthernetType)
	case layers.LayerTypeDot1Q:
		c.Protocol = etherType(l.vlan.Type)
	}
	return c
}

func etherType(t layers.EthernetType) string { return "0x" + strconv.FormatUint(uint64(t), 16) }

// addresses returns the columns of an IP packet.
func (l *Liner) addresses(protocol string, srcPort, dstPort uint16, ports bool) Columns {
	src, dst := l.ip4.SrcIP, l.ip4.DstIP
	for _, t := range l.found {
		if t == layers.LayerTypeIPv6 {
			src, dst = l.ip6.SrcIP, l.ip6.DstIP
		}
	}
	return Columns{From: endpoint(src, srcPort, ports), To: endpoint(dst, dstPort, ports), Protocol: protocol}
}

func endpoint(ip []byte, port uint16, ports bool) string {
	b := appendIP(nil, ip)
	if ports {
		b = strconv.AppendUint(append(b, '.'), uint64(port), 10)
	}
	return string(b)
}

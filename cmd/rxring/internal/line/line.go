// Package line describes packets in a line, or in the columns of a table. It looks up no names:
// addresses and ports are numbers.
package line

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/source/file/linktype"
	"github.com/rxring/rxring/tpacket"
)

// Packet is a packet to describe.
type Packet struct {
	Time     int64  // nanoseconds since 1970
	Device   string // "": the line does not name it
	Outgoing bool
	Data     []byte // in the form of files of the link type
	Len      int    // bytes before truncation
}

// Liner describes packets of one link type. It must not be used concurrently.
type Liner struct {
	ether, four, six, address *gopacket.DecodingLayerParser // by a packet's first header
	link                      capfile.LinkType

	found []gopacket.LayerType
	eth   layers.Ethernet
	vlan  layers.Dot1Q
	arp   layers.ARP
	ip4   layers.IPv4
	ip6   layers.IPv6
	tcp   layers.TCP
	udp   layers.UDP
	icmp4 layers.ICMPv4
	icmp6 layers.ICMPv6
}

// New returns a Liner for packets of a link type.
func New(link capfile.LinkType) *Liner {
	l := &Liner{link: link}
	for first, parser := range map[gopacket.LayerType]**gopacket.DecodingLayerParser{
		layers.LayerTypeEthernet: &l.ether, layers.LayerTypeIPv4: &l.four, layers.LayerTypeIPv6: &l.six, layers.LayerTypeARP: &l.address,
	} {
		*parser = gopacket.NewDecodingLayerParser(first,
			&l.eth, &l.vlan, &l.arp, &l.ip4, &l.ip6, &l.tcp, &l.udp, &l.icmp4, &l.icmp6)
		(*parser).IgnoreUnsupported = true
	}
	return l
}

// Append appends the packet's line: time, device, direction, headers, length.
func (l *Liner) Append(b []byte, p *Packet) []byte {
	b = time.Unix(0, p.Time).AppendFormat(b, "15:04:05.000000")
	if p.Device != "" {
		b = append(append(b, ' '), p.Device...)
	}
	if p.Outgoing {
		b = append(b, " Out "...)
	} else {
		b = append(b, " In  "...)
	}
	b = l.headers(b, p.Data)
	b = append(b, ", "...)
	b = strconv.AppendInt(b, int64(p.Len), 10)
	return append(b, " bytes\n"...)
}

// headers appends a description of the headers, as far as they can be decoded.
func (l *Liner) headers(b, data []byte) []byte {
	other, whole := l.decode(data)
	if other != "" {
		return append(b, other...)
	}
	if l.tagged() {
		b = append(b, "vlan "...)
		b = strconv.AppendUint(b, uint64(l.vlan.VLANIdentifier), 10)
		b = append(b, ' ')
	}
	b = l.innermost(b, l.last())
	if !whole {
		b = append(append(b, ' '), truncated...)
	}
	return b
}

// decode decodes the headers into l. other is the description of a packet without a header
// that it knows; whole is false if the last header is truncated or malformed.
func (l *Liner) decode(data []byte) (other string, whole bool) {
	parser := l.ether
	switch l.link {
	case capfile.LinkEthernet:
	case capfile.LinkRaw:
		parser = l.four
		if len(data) > 0 && data[0]>>4 == 6 {
			parser = l.six
		}
	case capfile.LinkLinuxSLL2:
		if len(data) < linktype.SLL2Len {
			return truncated, false
		}
		protocol := binary.BigEndian.Uint16(data)
		switch data = data[linktype.SLL2Len:]; protocol {
		case tpacket.ETHPIP:
			parser = l.four
		case tpacket.ETHPIPv6:
			parser = l.six
		case tpacket.ETHPARP:
			parser = l.address
		default:
			return fmt.Sprintf("protocol %#04x", protocol), true
		}
	default:
		return l.link.String(), true
	}
	l.found = l.found[:0]
	err := parser.DecodeLayers(data, &l.found)
	if len(l.found) == 0 {
		return truncated, false
	}
	return "", err == nil
}

// last returns the type of the last header that was decoded.
func (l *Liner) last() gopacket.LayerType { return l.found[len(l.found)-1] }

// tagged reports whether a VLAN tag was decoded.
func (l *Liner) tagged() bool { return slices.Contains(l.found, layers.LayerTypeDot1Q) }

const truncated = "[truncated or malformed]"

// innermost appends a description of the last header that was decoded.
func (l *Liner) innermost(b []byte, last gopacket.LayerType) []byte {
	switch last {
	case layers.LayerTypeTCP:
		b = append(l.flow(b, uint16(l.tcp.SrcPort), uint16(l.tcp.DstPort), true), ": TCP ["...)
		return append(l.flags(b), ']')
	case layers.LayerTypeUDP:
		return append(l.flow(b, uint16(l.udp.SrcPort), uint16(l.udp.DstPort), true), ": UDP"...)
	case layers.LayerTypeICMPv4:
		b = append(l.flow(b, 0, 0, false), ": ICMP "...)
		return append(b, l.icmp4.TypeCode.String()...)
	case layers.LayerTypeICMPv6:
		b = append(l.flow(b, 0, 0, false), ": ICMP6 "...)
		return append(b, l.icmp6.TypeCode.String()...)
	case layers.LayerTypeIPv4:
		b = append(l.flow(b, 0, 0, false), ": "...)
		b = append(b, l.ip4.Protocol.String()...)
		if l.ip4.FragOffset > 0 || l.ip4.Flags&layers.IPv4MoreFragments != 0 {
			b = append(b, " fragment at "...)
			b = strconv.AppendUint(b, uint64(l.ip4.FragOffset)*8, 10)
		}
		return b
	case layers.LayerTypeIPv6:
		b = append(l.flow(b, 0, 0, false), ": "...)
		return append(b, l.ip6.NextHeader.String()...)
	case layers.LayerTypeARP:
		return l.arpLine(b)
	case layers.LayerTypeEthernet:
		return l.etherLine(b, l.eth.EthernetType)
	case layers.LayerTypeDot1Q:
		return l.etherLine(b, l.vlan.Type)
	}
	return b
}

// etherLine appends source and destination of a frame whose payload is not decoded.
func (l *Liner) etherLine(b []byte, payload layers.EthernetType) []byte {
	b = append(b, l.eth.SrcMAC.String()...)
	b = append(b, " > "...)
	b = append(b, l.eth.DstMAC.String()...)
	return fmt.Appendf(b, ": %#04x", uint16(payload))
}

// flow appends source and destination of an IP packet.
func (l *Liner) flow(b []byte, srcPort, dstPort uint16, ports bool) []byte {
	src, dst, name := l.ip4.SrcIP, l.ip4.DstIP, "IP "
	if slices.Contains(l.found, layers.LayerTypeIPv6) {
		src, dst, name = l.ip6.SrcIP, l.ip6.DstIP, "IP6 "
	}
	b = appendIP(append(b, name...), src)
	if ports {
		b = strconv.AppendUint(append(b, '.'), uint64(srcPort), 10)
	}
	b = appendIP(append(b, " > "...), dst)
	if ports {
		b = strconv.AppendUint(append(b, '.'), uint64(dstPort), 10)
	}
	return b
}

// flags appends TCP's flags as tcpdump prints them.
func (l *Liner) flags(b []byte) []byte {
	t := &l.tcp
	for _, f := range []struct {
		set    bool
		letter byte
	}{{t.FIN, 'F'}, {t.SYN, 'S'}, {t.RST, 'R'}, {t.PSH, 'P'}, {t.ACK, '.'}, {t.URG, 'U'}, {t.ECE, 'E'}, {t.CWR, 'W'}} {
		if f.set {
			b = append(b, f.letter)
		}
	}
	return b
}

func (l *Liner) arpLine(b []byte) []byte {
	a := &l.arp
	b = append(b, "ARP "...)
	if len(a.SourceProtAddress) != 4 {
		return append(b, "for another protocol than IPv4"...)
	}
	switch a.Operation {
	case layers.ARPRequest:
		b = appendIP(append(b, "who-has "...), a.DstProtAddress)
		return appendIP(append(b, " tell "...), a.SourceProtAddress)
	case layers.ARPReply:
		b = appendIP(append(b, "reply "...), a.SourceProtAddress)
		return append(append(b, " is-at "...), net.HardwareAddr(a.SourceHwAddress).String()...)
	}
	return strconv.AppendUint(append(b, "operation "...), uint64(a.Operation), 10)
}

func appendIP(b []byte, ip []byte) []byte {
	a, _ := netip.AddrFromSlice(ip)
	return a.AppendTo(b)
}

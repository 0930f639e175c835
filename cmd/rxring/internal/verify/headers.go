package verify

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/rxring/rxring/source/file/capfile"
)

// Header lengths and field offsets, in bytes.
const (
	ethernetLen = 14
	vlanLen     = 4
	sllLen      = 16 // LINKTYPE_LINUX_SLL
	sll2Len     = 20 // LINKTYPE_LINUX_SLL2
	ipv4Len     = 20
	ipv6Len     = 40
	tcpLen      = 20
)

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100
	etherQinQ = 0x88a8
)

const (
	protoHopByHop    = 0
	protoICMP        = 1
	protoTCP         = 6
	protoRouting     = 43
	protoICMPv6      = 58
	protoDestOptions = 60
)

// flowKey names one direction of a TCP connection.
type flowKey struct {
	src, dst netip.AddrPort
}

func (f flowKey) String() string { return fmt.Sprintf("%v > %v", f.src, f.dst) }

// kind is the kind of a packet by its headers.
type kind int

const (
	foreign   kind = iota // anything but the two below
	icmp                  // which may quote another packet
	tcpPacket             // with its TCP header whole
)

// packet has the headers of a captured packet. Its slices are of the
// captured bytes.
type packet struct {
	kind kind
	flow flowKey
	seq  uint32

	payload []byte // the captured part
	beyond  []byte // captured bytes after the end of the IP packet
	length  int    // of the IP packet, by its header
	wire    int    // bytes after the link-layer header, by the capture's original length

	badChecksum bool // the IPv4 header's
}

// errLinkType is a link type whose packets cannot be parsed.
type errLinkType capfile.LinkType

func (e errLinkType) Error() string {
	return fmt.Sprintf("link type %d is not supported: capture Ethernet (1), raw IP (12, 14, 101, 228, 229) or Linux cooked packets (113, 276)", uint16(e))
}

// parse parses the headers of a packet. original is the packet's length before it was
// truncated to the snapshot length.
func parse(link capfile.LinkType, data []byte, original int) (packet, error) {
	header, etherType := 0, 0
	switch link {
	case capfile.LinkEthernet:
		header = ethernetLen
		for {
			if len(data) < header {
				return packet{}, nil
			}
			etherType = int(binary.BigEndian.Uint16(data[header-2:]))
			if etherType != etherVLAN && etherType != etherQinQ {
				break
			}
			header += vlanLen
		}
	case capfile.LinkLinuxSLL:
		if header = sllLen; len(data) >= header {
			etherType = int(binary.BigEndian.Uint16(data[14:]))
		}
	case capfile.LinkLinuxSLL2:
		if header = sll2Len; len(data) >= header {
			etherType = int(binary.BigEndian.Uint16(data))
		}
	case capfile.LinkRaw, capfile.LinkRawBSD, capfile.LinkRawOpenBSD, capfile.LinkIPv4, capfile.LinkIPv6:
		if len(data) > 0 {
			etherType = map[byte]int{4: etherIPv4, 6: etherIPv6}[data[0]>>4]
		}
	default:
		return packet{}, errLinkType(link)
	}
	if len(data) < header {
		return packet{}, nil
	}
	p := packet{wire: original - header}
	switch etherType {
	case etherIPv4:
		p.parseIPv4(data[header:])
	case etherIPv6:
		p.parseIPv6(data[header:])
	}
	return p, nil
}

func (p *packet) parseIPv4(b []byte) {
	if len(b) < ipv4Len || b[0]>>4 != 4 {
		return
	}
	header := int(b[0]&0xf) * 4
	if header < ipv4Len || len(b) < header {
		return
	}
	const moreFragments, fragmentOffset = 0x2000, 0x1fff
	if binary.BigEndian.Uint16(b[6:])&(moreFragments|fragmentOffset) != 0 {
		return
	}
	p.length = int(binary.BigEndian.Uint16(b[2:]))
	if p.length == 0 {
		p.length = p.wire // Linux's BIG TCP: too long for the field
	}
	// A checksum of 0 was left to the hardware.
	p.badChecksum = binary.BigEndian.Uint16(b[10:]) != 0 && !checksumOK(b[:header])
	p.flow.src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), 0)
	p.flow.dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:])), 0)
	p.parseTransport(int(b[9]), b, header)
}

// checksumOK checks an IPv4 header: its 16-bit words add up to all ones.
func checksumOK(header []byte) bool {
	var sum uint32
	for i := 0; i+1 < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum == 0xffff
}

func (p *packet) parseIPv6(b []byte) {
	if len(b) < ipv6Len || b[0]>>4 != 6 {
		return
	}
	p.length = ipv6Len + int(binary.BigEndian.Uint16(b[4:]))
	if p.length == ipv6Len {
		p.length = p.wire // a jumbogram, or BIG TCP
	}
	p.flow.src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])), 0)
	p.flow.dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[24:])), 0)
	next, header := int(b[6]), ipv6Len
	for next == protoHopByHop || next == protoRouting || next == protoDestOptions {
		if len(b) < header+2 {
			return
		}
		next, header = int(b[header]), header+8+8*int(b[header+1])
	}
	p.parseTransport(next, b, header)
}

// parseTransport parses the transport header, header bytes into the IP packet b.
func (p *packet) parseTransport(protocol int, b []byte, header int) {
	if protocol == protoICMP || protocol == protoICMPv6 {
		p.kind = icmp
		return
	}
	if protocol != protoTCP || len(b) < header+tcpLen {
		return
	}
	tcp := b[header:]
	header += int(tcp[12]>>4) * 4
	if int(tcp[12]>>4)*4 < tcpLen || len(b) < header {
		return
	}
	p.kind = tcpPacket
	p.flow.src = netip.AddrPortFrom(p.flow.src.Addr(), binary.BigEndian.Uint16(tcp))
	p.flow.dst = netip.AddrPortFrom(p.flow.dst.Addr(), binary.BigEndian.Uint16(tcp[2:]))
	p.seq = binary.BigEndian.Uint32(tcp[4:])
	end := max(header, min(p.length, len(b)))
	p.payload, p.beyond = b[header:end], b[end:]
}

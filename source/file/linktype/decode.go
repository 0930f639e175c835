package linktype

import (
	"bytes"
	"encoding/binary"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/tpacket"
)

var be = binary.BigEndian

// SLL2Len is the length of a header of LINUX_SLL2, in bytes.
const SLL2Len = 20

// Lengths of link-layer headers, in bytes.
const (
	sllLen      = 16
	afLen       = 4 // of an address family
	encLen      = 12
	slipLen     = 16
	snapLen     = 8
	pflogDir    = 60 // offset of the direction in a struct pfloghdr
	firewireLen = 18
	ipoibLen    = 44 // a global routing header, then an EtherType
	sllAddrLen  = 8
)

const (
	etherMPLS  = 0x8847
	etherPPPoE = 0x8864
	etherIPX   = 0x8137
)

// decodeSLL reads a header of LINUX_SLL, big-endian: packet type, hardware type,
// address length, 8 bytes of address, protocol.
func decodeSLL(b []byte, l *rxring.Link) []byte {
	if len(b) < sllLen {
		return nil
	}
	l.Type = tpacket.PacketType(be.Uint16(b))
	l.Hatype = be.Uint16(b[2:])
	l.AddrLen = uint8(min(be.Uint16(b[4:]), sllAddrLen))
	copy(l.Addr[:], b[6:])
	l.Protocol = be.Uint16(b[14:])
	return b[sllLen:]
}

// decodeSLL2 reads a header of LINUX_SLL2, big-endian: protocol, 2 bytes reserved,
// interface, hardware type, packet type, address length, 8 bytes of address.
func decodeSLL2(b []byte, l *rxring.Link) []byte {
	if len(b) < SLL2Len {
		return nil
	}
	l.Protocol = be.Uint16(b)
	l.Ifindex = int32(be.Uint32(b[4:]))
	l.Hatype = be.Uint16(b[8:])
	l.Type = tpacket.PacketType(b[10])
	l.AddrLen = min(b[11], sllAddrLen)
	copy(l.Addr[:], b[12:])
	return b[SLL2Len:]
}

// AppendSLL2 appends a header of LINUX_SLL2 with the contents of an address.
func AppendSLL2(b []byte, a *tpacket.SockaddrLL) []byte {
	b = be.AppendUint16(b, tpacket.Htons(a.Protocol))
	b = be.AppendUint32(append(b, 0, 0), uint32(a.Ifindex))
	b = be.AppendUint16(b, a.Hatype)
	return append(append(b, byte(a.Pkttype), a.Halen), a.Addr[:]...)
}

// family returns the EtherType of a BSD system's address family; 0 if it is unknown.
func family(af uint32) uint16 {
	switch af {
	case 2:
		return tpacket.ETHPIP
	case 10, 24, 26, 28, 30: // Linux, NetBSD and OpenBSD, Solaris, FreeBSD, macOS
		return tpacket.ETHPIPv6
	case 23:
		return etherIPX
	}
	return 0
}

// decodeNull reads an address family in the writer's byte order, or big-endian (LOOP).
func decodeNull(b []byte, l *rxring.Link) []byte {
	if len(b) < afLen {
		return nil
	}
	af := binary.LittleEndian.Uint32(b)
	if af > 0xffff {
		af = be.Uint32(b)
	}
	l.Protocol = family(af)
	return b[afLen:]
}

// decodeEnc reads OpenBSD's struct enchdr: an address family and the IPsec state.
func decodeEnc(b []byte, l *rxring.Link) []byte {
	if len(b) < encLen {
		return nil
	}
	decodeNull(b, l)
	return b[encLen:]
}

// decodePflog reads OpenBSD's struct pfloghdr: its length, the address family, the
// rule, and the direction.
func decodePflog(b []byte, l *rxring.Link) []byte {
	const outbound = 2 // PF_OUT
	if len(b) == 0 || len(b) < (int(b[0])+3)&^3 || int(b[0]) <= pflogDir {
		return nil
	}
	l.Protocol = family(uint32(b[1]))
	if b[pflogDir] == outbound {
		l.Type = tpacket.PacketOutgoing
	}
	return b[(int(b[0])+3)&^3:]
}

// direction reads a byte that is not 0 for packets that were sent.
func direction(b byte, l *rxring.Link) {
	if b != 0 {
		l.Type = tpacket.PacketOutgoing
	}
}

func decodeWithDirection(b []byte, l *rxring.Link) []byte {
	if len(b) == 0 {
		return nil
	}
	direction(b[0], l)
	return b[1:]
}

// decodeSLIP reads a direction and 15 bytes of a compressed header.
func decodeSLIP(b []byte, l *rxring.Link) []byte {
	if len(b) < slipLen {
		return nil
	}
	direction(b[0], l)
	if len(b) > slipLen {
		switch b[slipLen] >> 4 {
		case 4:
			l.Protocol = tpacket.ETHPIP
		case 6:
			l.Protocol = tpacket.ETHPIPv6
		}
	}
	return b[slipLen:]
}

// decodePPP reads a PPP protocol number, after HDLC's address and control fields if there are
// any. A packet of the link's own protocols, which has no EtherType, is shown whole, as PPP in
// HDLC framing.
func decodePPP(b []byte, l *rxring.Link) []byte {
	const address, control = 0xff, 0x03
	const ciscoUnicast, ciscoMulticast = 0x0f, 0x8f
	at := 0
	switch {
	case len(b) >= 4 && (b[0] == ciscoUnicast || b[0] == ciscoMulticast):
		l.Protocol = be.Uint16(b[2:])
		return b[4:]
	case len(b) >= 2 && b[0] == address && b[1] == control:
		at = 2
	}
	if len(b) < at+2 {
		return nil
	}
	protocol := uint16(b[at]) // one byte, if it is odd (RFC 1661, section 6.5)
	if at++; protocol&1 == 0 {
		protocol = protocol<<8 | uint16(b[at])
		at++
	}
	switch protocol {
	case 0x21:
		l.Protocol = tpacket.ETHPIP
	case 0x57:
		l.Protocol = tpacket.ETHPIPv6
	case 0x2b:
		l.Protocol = etherIPX
	case 0x281:
		l.Protocol = etherMPLS
	case 0x283:
		l.Protocol = etherMPLS + 1
	default:
		l.Protocol = tpacket.ETHPWanPPP
		return b
	}
	return b[at:]
}

// decodePPPD reads a header whose address byte is a direction.
func decodePPPD(b []byte, l *rxring.Link) []byte {
	if len(b) < 4 {
		return nil
	}
	direction(b[0], l)
	return decodePPP(b[2:], l)
}

func decodePPPWithDirection(b []byte, l *rxring.Link) []byte {
	if len(b) == 0 {
		return nil
	}
	direction(b[0], l)
	return decodePPP(b[1:], l)
}

// decodePPPoE keeps the PPPoE header, which is part of the packet.
func decodePPPoE(b []byte, l *rxring.Link) []byte {
	l.Protocol = etherPPPoE
	return b
}

func decodeMPLS(b []byte, l *rxring.Link) []byte {
	l.Protocol = etherMPLS
	return b
}

// decodeLLC reads an LLC and SNAP header; another LLC header stays part of the packet.
func decodeLLC(b []byte, l *rxring.Link) []byte {
	if len(b) >= snapLen && bytes.Equal(b[:6], []byte{0xaa, 0xaa, 3, 0, 0, 0}) {
		l.Protocol = be.Uint16(b[6:])
		return b[snapLen:]
	}
	l.Protocol = tpacket.ETHP8022
	return b
}

// decodeFireWire reads the addresses of receiver and sender and an EtherType.
func decodeFireWire(b []byte, l *rxring.Link) []byte {
	if len(b) < firewireLen {
		return nil
	}
	l.Hatype, l.AddrLen = tpacket.ARPHRDIEEE1394, uint8(copy(l.Addr[:], b[8:]))
	l.Protocol = be.Uint16(b[16:])
	return b[firewireLen:]
}

func decodeIPoIB(b []byte, l *rxring.Link) []byte {
	if len(b) < ipoibLen {
		return nil
	}
	l.Hatype, l.Protocol = tpacket.ARPHRDInfiniband, be.Uint16(b[ipoibLen-4:])
	return b[ipoibLen:]
}

// decodeCAN converts the identifier, which is big-endian in files, to the drivers' byte order:
// libpcap converts it back.
func decodeCAN(b []byte, _ *rxring.Link) []byte {
	if len(b) < 4 {
		return nil
	}
	binary.NativeEndian.PutUint32(b, be.Uint32(b))
	return b
}

// decodeNFLOG finds the payload among the attributes of a packet of the kernel's
// NFLOG target (linux/netfilter/nfnetlink_log.h). Their lengths and types are in the
// byte order of the machine that captured them.
func decodeNFLOG(b []byte, l *rxring.Link) []byte {
	const (
		header, attrHeader = 4, 4 // family, version, resource; length and type
		payload            = 9    // NFULA_PAYLOAD
		typeMask           = 0x7fff
	)
	if len(b) < header {
		return nil
	}
	l.Protocol = family(uint32(b[0]))
	rest := b[header:]
	order := binary.ByteOrder(binary.LittleEndian)
	if len(rest) >= attrHeader && int(order.Uint16(rest)) > len(rest) {
		order = binary.BigEndian
	}
	for len(rest) >= attrHeader {
		n, typ := int(order.Uint16(rest)), order.Uint16(rest[2:])&typeMask
		if n < attrHeader {
			return nil
		}
		if typ == payload {
			return rest[attrHeader:min(n, len(rest))]
		}
		rest = rest[min((n+3)&^3, len(rest)):]
	}
	return nil
}

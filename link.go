package rxring

import (
	"encoding/binary"
	"slices"

	"github.com/rxring/rxring/tpacket"
)

// linkLayer is what Linux's drivers of a hardware type have in common.
type linkLayer struct {
	// header is hard_header_len: what a SOCK_RAW sender must give at least, and what
	// is before the network header of a packet that a packet socket sends.
	header uint32

	// makes says that the driver makes a header for SOCK_DGRAM senders
	// (header_ops.create), of a kind that is not made here.
	makes bool

	// framing is how to find what sockets are shown beside the bytes of a packet that
	// comes in; protocol is that of all of them, if they are opaque.
	framing  framing
	protocol uint16
}

// framing is a way to read the beginning of a packet. It is a number and not a
// function, since a call through a pointer would have every packet allocate.
type framing uint8

const (
	opaque framing = iota
	bareIP
	canFraming
	monitor // of IEEE 802.11
	ieee802154
	ciscoHDLC
	fddi
	ipoib
	firewire
)

// linkLayerOf is the type's. Types that Linux has no drivers of are opaque, and their
// packets of no protocol.
func linkLayerOf(t DeviceType) linkLayer {
	switch t {
	case RawIP, tpacket.ARPHRDRawIP, tpacket.ARPHRDTunnel, tpacket.ARPHRDTunnel6, tpacket.ARPHRDSit, tpacket.ARPHRDIPGRE,
		tpacket.ARPHRDIP6GRE, tpacket.ARPHRDATM, tpacket.ARPHRDSlip, tpacket.ARPHRDRawHDLC, tpacket.ARPHRDDLCI, tpacket.ARPHRD6LoWPAN:
		return linkLayer{framing: bareIP}
	case PPP:
		return linkLayer{header: 4, framing: bareIP} // PPP_HDRLEN
	case CAN:
		return linkLayer{framing: canFraming}
	case IEEE80211, IEEE80211Radiotap, tpacket.ARPHRDIEEE80211Prism:
		return linkLayer{header: etherLen, framing: monitor}
	case IEEE802154:
		return linkLayer{makes: true, framing: ieee802154}
	case tpacket.ARPHRDIEEE802154Monitor:
		return linkLayer{protocol: tpacket.ETHPIEEE802154}
	case tpacket.ARPHRDCisco:
		return linkLayer{header: ciscoLen, makes: true, framing: ciscoHDLC}
	case tpacket.ARPHRDFRAD:
		return linkLayer{protocol: tpacket.ETHPHDLC}
	case tpacket.ARPHRDInfiniband:
		return linkLayer{header: ipoibLen, makes: true, framing: ipoib}
	case tpacket.ARPHRDIEEE1394:
		return linkLayer{header: firewireLen, makes: true, framing: firewire}
	case tpacket.ARPHRDFDDI:
		return linkLayer{header: fddiSNAP, makes: true, framing: fddi}
	case tpacket.ARPHRDAX25:
		return linkLayer{makes: true, protocol: tpacket.ETHPAX25}
	case tpacket.ARPHRDIrDA:
		return linkLayer{protocol: tpacket.ETHPIrDA}
	case tpacket.ARPHRDLocalTalk:
		return linkLayer{makes: true, protocol: tpacket.ETHPLocalTalk}
	}
	return linkLayer{}
}

// Lengths of headers in bytes.
const (
	ciscoLen    = 4  // struct hdlc_header (drivers/net/wan/hdlc_cisco.c)
	ipoibLen    = 24 // IPOIB_HARD_LEN: the receiver's address, then struct ipoib_header
	firewireLen = 10 // struct fwnet_header (drivers/firewire/net.c)
	fddiLLC     = 13 // of struct fddihdr (linux/if_fddi.h), up to LLC
	fddiSNAP    = 21 // and with LLC and SNAP: FDDI_K_SNAP_HLEN
)

// ethernet reports whether the device's packets begin with an Ethernet header.
func (d *Device) ethernet() bool { return d.ether }

// bareIP reports whether what a socket sends through the device is an IP packet
// without a link-layer header (ip_tunnel_parse_protocol).
func (d *Device) bareIP() bool { return d.typ == RawIP }

// measureLink is measure's part for devices that are not Ethernet.
func (meta *packetMeta) measureLink(d *Device, p *Packet) bool {
	meta.maclen, meta.from.Halen = 0, 0
	if meta.length == 0 {
		return false
	}
	l := p.Link
	if l == nil {
		return meta.parse(d, p)
	}
	if int(l.HeaderLen) > len(p.Data) {
		return false
	}
	meta.maclen, meta.protocol = uint32(l.HeaderLen), l.Protocol
	meta.from.Pkttype, meta.from.Halen, meta.from.Addr = l.Type, l.AddrLen, l.Addr
	if l.Hatype != 0 || l.Ifindex != 0 {
		meta.extra |= extraLink
	}
	return true
}

// stamp puts what replaces the device's own into an address.
func (l *Link) stamp(to *tpacket.SockaddrLL) {
	if l.Hatype != 0 {
		to.Hatype = l.Hatype
	}
	if l.Ifindex != 0 {
		to.Ifindex = l.Ifindex
	}
}

// parse reads the beginning of a packet. It reports false for one that no driver of the type
// would accept.
func (meta *packetMeta) parse(d *Device, p *Packet) bool {
	head := p.Data
	switch d.link.framing {
	case bareIP:
		meta.protocol = ipVersion(head)
		return meta.protocol != 0
	case canFraming:
		meta.parseCAN()
	case monitor:
		meta.parseMonitor(head)
	case ieee802154:
		meta.parse802154(head)
	case ciscoHDLC:
		return meta.parseCisco(head)
	case fddi:
		return meta.parseFDDI(head)
	case ipoib:
		return meta.parseEtherType(head, ipoibLen-4, ipoibLen)
	case firewire:
		return meta.parseEtherType(head, firewireLen-2, firewireLen)
	default:
		meta.protocol = d.link.protocol
	}
	return true
}

// parseEtherType is for headers of n bytes, with an EtherType at offset at.
func (meta *packetMeta) parseEtherType(head []byte, at, n int) bool {
	if len(head) < n {
		return false
	}
	meta.protocol, meta.maclen = binary.BigEndian.Uint16(head[at:]), uint32(n)
	return true
}

// Sizes of struct can_frame and canfd_frame (linux/can.h), by which drivers' packets
// are told apart.
const (
	canFrame   = 16
	canFDFrame = 72
)

// parseCAN takes what alloc_can_skb and its kin set (drivers/net/can/dev/skb.c).
func (meta *packetMeta) parseCAN() {
	switch meta.length {
	case canFrame:
		meta.protocol = tpacket.ETHPCAN
	case canFDFrame:
		meta.protocol = tpacket.ETHPCANFD
	default:
		meta.protocol = tpacket.ETHPCANXL
	}
	meta.from.Pkttype = tpacket.PacketBroadcast
}

// parseMonitor takes what ieee80211_rx_monitor sets (net/mac80211/rx.c). The address
// is the bytes where an Ethernet header has one: these devices have Ethernet's
// header_ops.
func (meta *packetMeta) parseMonitor(head []byte) {
	meta.protocol = tpacket.ETHP8022
	meta.from.Pkttype = tpacket.PacketOtherHost
	if len(head) >= etherLen {
		meta.from.Halen = etherAddrLen
		*(*[etherAddrLen]byte)(meta.from.Addr[:]) = [etherAddrLen]byte(head[etherAddrLen:])
	}
}

// parseCisco is cisco_type_trans (drivers/net/wan/hdlc_cisco.c): IP is behind the
// header, everything else with it.
func (meta *packetMeta) parseCisco(head []byte) bool {
	const unicast, multicast = 0x0f, 0x8f
	if len(head) < ciscoLen {
		return false
	}
	meta.protocol = tpacket.ETHPHDLC
	if to := head[0]; to == unicast || to == multicast {
		if t := binary.BigEndian.Uint16(head[2:]); t == tpacket.ETHPIP || t == tpacket.ETHPIPv6 {
			meta.protocol, meta.maclen = t, ciscoLen
		}
	}
	return true
}

// parseFDDI is fddi_type_trans (net/802/fddi.c).
func (meta *packetMeta) parseFDDI(head []byte) bool {
	const plain, snap, snapSAP = fddiLLC, fddiSNAP, 0xaa
	if len(head) < plain+3 {
		return false
	}
	if head[plain] != snapSAP || len(head) < snap {
		meta.protocol, meta.maclen = tpacket.ETHP8022, plain
	} else {
		meta.protocol, meta.maclen = binary.BigEndian.Uint16(head[snap-2:]), snap
	}
	switch to := [6]byte(head[1:]); {
	case to == broadcast:
		meta.from.Pkttype = tpacket.PacketBroadcast
	case to[0]&1 != 0:
		meta.from.Pkttype = tpacket.PacketMulticast
	default:
		meta.from.Pkttype = tpacket.PacketOtherHost
	}
	return true
}

// parse802154 finds the MAC header's end and the sender's long address, as
// ieee802154_hdr_pull and mac802154_header_parse do (net/ieee802154/header_ops.c).
func (meta *packetMeta) parse802154(head []byte) {
	const (
		security, intraPAN = 1 << 3, 1 << 6 // of the frame control field
		panLen             = 2
		shortLen, longLen  = 2, 8
		broadcastShort     = 0xffff
	)
	meta.protocol = tpacket.ETHPIEEE802154
	meta.from.Pkttype = tpacket.PacketOtherHost
	if len(head) < 3 {
		return // a driver's device would drop it, a monitor shows it
	}
	control := binary.LittleEndian.Uint16(head)
	at := 3 // control and sequence number
	addrLen := [4]int{0, 0, shortLen, longLen}
	dst, src := addrLen[control>>10&3], addrLen[control>>14]
	if dst > 0 {
		at += panLen
		if dst == shortLen && len(head) >= at+dst && binary.LittleEndian.Uint16(head[at:]) == broadcastShort {
			meta.from.Pkttype = tpacket.PacketBroadcast
		}
		at += dst
	}
	if src > 0 && (control&intraPAN == 0 || dst == 0) {
		at += panLen
	}
	if src == longLen && len(head) >= at+src {
		meta.from.Halen = longLen
		copy(meta.from.Addr[:], head[at:at+src])
		slices.Reverse(meta.from.Addr[:]) // little-endian in the frame
	}
	at += src
	if control&security != 0 && len(head) > at {
		keyLen := [4]int{0, 1, 5, 9}
		at += 1 + 4 + keyLen[head[at]>>3&3] // security control, frame counter, key identifier
	}
	if at <= len(head) {
		meta.maclen = uint32(at)
	}
}

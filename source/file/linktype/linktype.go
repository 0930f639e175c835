package linktype

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/source/file/capfile"
	"github.com/rxring/rxring/tpacket"
)

// Link describes how a device shows packets of a link type.
type Link struct {
	Type   capfile.LinkType
	Device rxring.DeviceType // type of the device

	decode func(b []byte, l *rxring.Link) []byte // nil: unchanged
	framed bool                                  // what decode returns begins with the header of the device's type
}

// CAN is CAN_SOCKETCAN, the link type of CAN devices.
const CAN capfile.LinkType = 227

// cooked is the device type for packets without a link-layer header: libpcap opens it cooked
// without a warning.
const cooked = rxring.PPP

var links = []Link{
	{Type: capfile.LinkEthernet, Device: rxring.Ethernet},
	{Type: capfile.LinkRaw, Device: rxring.RawIP},
	{Type: capfile.LinkRawBSD, Device: rxring.RawIP},
	{Type: capfile.LinkRawOpenBSD, Device: rxring.RawIP},
	{Type: capfile.LinkIPv4, Device: rxring.RawIP},
	{Type: capfile.LinkIPv6, Device: rxring.RawIP},
	{Type: capfile.LinkUser0, Device: rxring.RawIP, decode: decodeTailscale, framed: true},

	{Type: 2, Device: tpacket.ARPHRDEEther},
	{Type: 4, Device: tpacket.ARPHRDPronet},
	{Type: 5, Device: tpacket.ARPHRDChaos},
	{Type: 6, Device: tpacket.ARPHRDIEEE802},
	{Type: 10, Device: tpacket.ARPHRDFDDI},
	{Type: 104, Device: tpacket.ARPHRDCisco},
	{Type: 105, Device: rxring.IEEE80211},
	{Type: 107, Device: tpacket.ARPHRDFRAD},
	{Type: 114, Device: tpacket.ARPHRDLocalTalk},
	{Type: 119, Device: tpacket.ARPHRDIEEE80211Prism},
	{Type: 122, Device: tpacket.ARPHRDIPOverFC},
	{Type: 127, Device: rxring.IEEE80211Radiotap},
	{Type: 129, Device: tpacket.ARPHRDArcnet},
	{Type: 202, Device: tpacket.ARPHRDAX25},
	{Type: 224, Device: tpacket.ARPHRDFCFabric},
	{Type: CAN, Device: rxring.CAN, decode: decodeCAN, framed: true},
	{Type: 230, Device: rxring.IEEE802154},
	{Type: 271, Device: tpacket.ARPHRDVsockMon},

	// libpcap captures these cooked, with a link type of their own, whose header is that
	// of LINUX_SLL.
	{Type: 144, Device: tpacket.ARPHRDIrDA, decode: decodeSLL},
	{Type: 177, Device: tpacket.ARPHRDLAPD, decode: decodeSLL},
	{Type: 253, Device: tpacket.ARPHRDNetlink, decode: decodeSLL},

	// A byte for the direction, then what a device has.
	{Type: 205, Device: tpacket.ARPHRDCisco, decode: decodeWithDirection, framed: true},
	{Type: 206, Device: tpacket.ARPHRDFRAD, decode: decodeWithDirection, framed: true},

	{Type: capfile.LinkLinuxSLL, Device: cooked, decode: decodeSLL},
	{Type: capfile.LinkLinuxSLL2, Device: cooked, decode: decodeSLL2},
	{Type: 0, Device: cooked, decode: decodeNull},
	{Type: 108, Device: cooked, decode: decodeNull},
	{Type: 8, Device: cooked, decode: decodeSLIP},
	{Type: 9, Device: cooked, decode: decodePPP},
	{Type: 50, Device: cooked, decode: decodePPP},
	{Type: 51, Device: cooked, decode: decodePPPoE},
	{Type: 166, Device: cooked, decode: decodePPPD},
	{Type: 204, Device: cooked, decode: decodePPPWithDirection},
	{Type: 100, Device: cooked, decode: decodeLLC},
	{Type: 106, Device: cooked, decode: decodeLLC},
	{Type: 109, Device: cooked, decode: decodeEnc},
	{Type: 117, Device: cooked, decode: decodePflog},
	{Type: 138, Device: cooked, decode: decodeFireWire},
	{Type: 219, Device: cooked, decode: decodeMPLS},
	{Type: 239, Device: cooked, decode: decodeNFLOG},
	{Type: 242, Device: cooked, decode: decodeIPoIB},
}

// Of returns how packets of a link type are shown. Its error lists the types that can be.
func Of(t capfile.LinkType) (*Link, error) {
	if i := slices.IndexFunc(links, func(l Link) bool { return l.Type == t }); i >= 0 {
		return &links[i], nil
	}
	return nil, fmt.Errorf("link type %v, which no network device of Linux has: want one of %s", t, allowed())
}

// OfDevice returns the link type of a capture on devices of a hardware type. It is LINUX_SLL2,
// and the packets must be read cooked, if no link type has their packets unchanged.
func OfDevice(t rxring.DeviceType) (link capfile.LinkType, cooked bool) {
	switch t {
	case rxring.Loopback:
		return capfile.LinkEthernet, false
	case rxring.CAN:
		return CAN, false
	case tpacket.ARPHRDRawIP, tpacket.ARPHRDTunnel, tpacket.ARPHRDSit:
		return capfile.LinkRaw, false
	}
	for _, l := range links {
		if l.Device == t && l.decode == nil {
			return l.Type, false
		}
	}
	return capfile.LinkLinuxSLL2, true
}

func allowed() string {
	var numbers []int
	for _, l := range links {
		numbers = append(numbers, int(l.Type))
	}
	slices.Sort(numbers)
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(numbers), " ", ", "), "[]")
}

// Packet is a packet as a device shows it.
type Packet struct {
	Data     []byte
	Link     rxring.Link // from the header in the file
	HasLink  bool        // Link is valid; otherwise the device parses Data by its type
	Outgoing bool
}

// Decode returns a packet as a device shows it. Data is part of b, which may be changed. ok is
// false for a packet whose header is truncated.
func (l *Link) Decode(b []byte) (p Packet, ok bool) {
	if l.decode == nil {
		return Packet{Data: b}, true
	}
	return l.decodeHeader(b)
}

// decodeHeader allocates: what it returns escapes to decode. Most packets have no need of it.
func (l *Link) decodeHeader(b []byte) (p Packet, ok bool) {
	p.Data = l.decode(b, &p.Link)
	p.Outgoing = p.Link.Type == tpacket.PacketOutgoing
	p.HasLink = !l.framed
	return p, p.Data != nil
}

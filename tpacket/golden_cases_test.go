package tpacket_test

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/rxring/rxring/tpacket"
)

// device is one of the two that the cases use.
type device struct {
	name   string
	index  int
	hatype uint16
	addr   [6]byte
}

var (
	tap = device{"tap0", 10, tpacket.ARPHRDEther, [6]byte{2, 0, 0, 0, 0, 1}}
	tun = device{"tun0", 11, tpacket.ARPHRDNone, [6]byte{}}
)

// packet is a packet and what Linux makes of it before a socket sees it.
type packet struct {
	name     string
	dev      device
	data     []byte
	outgoing bool
	vnet     [vnetLen]byte // offloads it arrives with

	reported [vnetLen]byte // what PACKET_VNET_HDR says of them
	maclen   int
	protocol uint16
	pkttype  tpacket.PacketType
	status   uint32
	untagged bool // arrives with a VLAN tag, which the kernel takes out
	tagged   bool // leaves with a VLAN tag in it
}

// goldenCase is a question to the kernel: this socket, this ring, these
// packets. The answer is all used V3 blocks, or the first V1 or V2 frame.
type goldenCase struct {
	name       string
	version    tpacket.Version
	dgram      bool
	reserve    uint32
	vnetHdr    bool
	copyThresh uint32
	request    tpacket.Req3
	packets    []packet
}

var (
	peer      = []byte{2, 0, 0, 0, 0, 2}
	stranger  = []byte{2, 0, 0, 0, 0, 3}
	everyone  = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	multicast = []byte{1, 0, 0x5e, 0, 0, 0xfb}
)

func eth(dst, src []byte, ethertype uint16, payload []byte) []byte {
	return slices.Concat(dst, src, binary.BigEndian.AppendUint16(nil, ethertype), payload)
}

// ipv4 is a UDP or TCP packet of n bytes, checksums left zero: Linux shows it to
// packet sockets before it looks at them.
func ipv4(protocol byte, n int) []byte {
	b := make([]byte, n)
	copy(b, []byte{0x45, 0, byte(n >> 8), byte(n), 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1})
	copy(b[20:], []byte{0x9c, 0x40, 0, 53})
	if protocol == 6 {
		b[32] = 5 << 4
	} else {
		binary.BigEndian.PutUint16(b[24:], uint16(n-20))
	}
	transport := 28
	if protocol == 6 {
		transport = 40
	}
	for i := transport; i < n; i++ {
		b[i] = byte('A' + (i-transport)%26)
	}
	return b
}

func ipv6(n int) []byte {
	b := make([]byte, n)
	copy(b, []byte{0x60, 0, 0, 0, byte((n - 40) >> 8), byte(n - 40), 59, 64, 0x20, 1, 0x0d, 0xb8})
	copy(b[24:], []byte{0x20, 1, 0x0d, 0xb8})
	b[23], b[39] = 2, 1
	return b
}

func packets() []packet {
	us := tap.addr[:]
	udp := ipv4(17, 46)
	tagged := func(dst, src []byte) []byte {
		return eth(dst, src, tpacket.ETHP8021Q, slices.Concat([]byte{0x60, 0x64, 0x08, 0x00}, udp))
	}
	offload := func(flags, gsoType byte, hdrLen, gsoSize, csumStart, csumOffset uint16) (h [vnetLen]byte) {
		h[0], h[1] = flags, gsoType
		for i, v := range []uint16{hdrLen, gsoSize, csumStart, csumOffset} {
			binary.LittleEndian.PutUint16(h[2+2*i:], v)
		}
		return h
	}
	const ip = tpacket.ETHPIP
	return []packet{
		{name: "to-us", dev: tap, data: eth(us, peer, ip, udp), maclen: 14, protocol: ip},
		{name: "to-us-long", dev: tap, data: eth(us, peer, ip, ipv4(17, 300)), maclen: 14, protocol: ip},
		{name: "header-only", dev: tap, data: eth(us, peer, ip, nil), maclen: 14, protocol: ip},
		{name: "one-byte", dev: tap, data: eth(us, peer, ip, []byte{0x45}), maclen: 14, protocol: ip},
		{name: "broadcast", dev: tap, data: eth(everyone, peer, ip, udp), maclen: 14, protocol: ip, pkttype: tpacket.PacketBroadcast},
		{name: "multicast", dev: tap, data: eth(multicast, peer, ip, udp), maclen: 14, protocol: ip, pkttype: tpacket.PacketMulticast},
		{name: "to-another-host", dev: tap, data: eth(stranger, peer, tpacket.ETHPIPv6, ipv6(60)), maclen: 14, protocol: tpacket.ETHPIPv6, pkttype: tpacket.PacketOtherHost},
		{name: "llc", dev: tap, data: eth(us, peer, 10, []byte("\x42\x42\x03llc llc")), maclen: 14, protocol: tpacket.ETHP8022},
		{name: "raw-802.3", dev: tap, data: eth(us, peer, 10, []byte("\xff\xffnetware ")), maclen: 14, protocol: tpacket.ETHP8023},
		{name: "vlan", dev: tap, data: tagged(us, peer), maclen: 14, protocol: ip, untagged: true},
		{name: "checksum-to-do", dev: tap, data: eth(us, peer, ip, udp), maclen: 14, protocol: ip, vnet: offload(1, 0, 0, 0, 34, 6), reported: offload(1, 0, 0, 0, 34, 6), status: tpacket.StatusCsumNotReady},
		{name: "tcp-segments", dev: tap, data: eth(us, peer, ip, ipv4(6, 320)), maclen: 14, protocol: ip, vnet: offload(1, 1, 54, 100, 34, 16), reported: offload(1, 1, 14+320, 100, 34, 16), status: tpacket.StatusCsumNotReady | tpacket.StatusGSOTCP},
		{name: "bare-ipv4", dev: tun, data: udp, protocol: ip},
		{name: "bare-ipv6", dev: tun, data: ipv6(60), protocol: tpacket.ETHPIPv6},
		{name: "sent", dev: tap, data: eth(peer, us, ip, udp), outgoing: true, maclen: 14, protocol: ip, pkttype: tpacket.PacketOutgoing},
		{name: "sent-long", dev: tap, data: eth(peer, us, ip, ipv4(17, 300)), outgoing: true, maclen: 14, protocol: ip, pkttype: tpacket.PacketOutgoing},
		{name: "sent-vlan", dev: tap, data: tagged(peer, us), outgoing: true, maclen: 18, protocol: tpacket.ETHP8021Q, pkttype: tpacket.PacketOutgoing, tagged: true},
		{name: "sent-bare-ipv4", dev: tun, data: udp, outgoing: true, protocol: ip, pkttype: tpacket.PacketOutgoing},
	}
}

func goldenCases() (all []goldenCase) {
	p := make(map[string]packet)
	for _, one := range packets() {
		p[one.name] = one
	}
	slots := func(frameSize uint32) tpacket.Req3 {
		return tpacket.Req3{Req: tpacket.Req{BlockSize: goldenPage, BlockNr: 1, FrameSize: frameSize, FrameNr: goldenPage / frameSize}}
	}
	blocks := func(frameSize, priv uint32) tpacket.Req3 {
		r := slots(frameSize)
		r.BlockNr, r.FrameNr = 2, 2*r.FrameNr
		r.RetireBlkTov, r.SizeofPriv = 40, priv
		return r
	}
	add := func(c goldenCase) {
		names := ""
		for i, one := range c.packets {
			if i == 0 || c.packets[i-1].name != one.name {
				names += one.name + " "
			}
		}
		kind := "raw"
		if c.dgram {
			kind = "dgram"
		}
		c.name = fmt.Sprintf("%s%s reserve %d frame %d", names, kind, c.reserve, c.request.FrameSize)
		if c.vnetHdr {
			c.name += " with vnet header"
		}
		if c.copyThresh > 0 {
			c.name += " with copy"
		}
		if c.version == tpacket.V3 {
			c.name += fmt.Sprintf(" priv %d", c.request.SizeofPriv)
		}
		all = append(all, c)
	}

	for _, v := range []tpacket.Version{tpacket.V1, tpacket.V2} {
		for _, dgram := range []bool{false, true} {
			// Every packet.
			for _, one := range packets() {
				c := goldenCase{version: v, dgram: dgram, request: slots(512), packets: []packet{one}}
				if len(c.seen(one)) == 0 { // never delivered: send something after it
					c.packets = append(c.packets, p["to-us"])
				}
				add(c)
			}
			// Every reserve, odd ones too, with each length of link-layer header.
			for _, reserve := range []uint32{4, 7, 16, 100} {
				for _, name := range []string{"to-us", "bare-ipv4", "sent-vlan"} {
					add(goldenCase{version: v, dgram: dgram, reserve: reserve, request: slots(512), packets: []packet{p[name]}})
				}
			}
			// Cut: a little, a lot, and down to nothing because the frame ends
			// before its packet begins.
			for _, frameSize := range []uint32{64, 80, 96, 112, 256} {
				add(goldenCase{version: v, dgram: dgram, request: slots(frameSize), packets: []packet{p["to-us-long"]}})
			}
			add(goldenCase{version: v, dgram: dgram, request: slots(64), packets: []packet{p["bare-ipv4"]}})
			add(goldenCase{version: v, dgram: dgram, reserve: 4, request: slots(256), packets: []packet{p["sent-long"]}})
			add(goldenCase{version: v, dgram: dgram, request: slots(256), copyThresh: 1, packets: []packet{p["to-us-long"]}})
		}
		for _, name := range []string{"to-us", "checksum-to-do", "tcp-segments", "bare-ipv4"} {
			add(goldenCase{version: v, reserve: 4, vnetHdr: true, request: slots(512), packets: []packet{p[name]}})
		}
	}

	v3 := goldenCase{version: tpacket.V3, request: blocks(2048, 0)}
	with := func(c goldenCase, names ...string) goldenCase {
		for _, name := range names {
			c.packets = append(slices.Clip(c.packets), p[name])
		}
		return c
	}
	for _, dgram := range []bool{false, true} {
		v3.dgram = dgram
		v3.reserve, v3.request.SizeofPriv = 0, 0
		add(with(v3, "to-us", "one-byte", "sent", "vlan", "checksum-to-do", "sent-vlan"))
		add(with(v3, "bare-ipv4", "sent-bare-ipv4"))
		for _, reserve := range []uint32{4, 7, 100} {
			v3.reserve = reserve
			add(with(v3, "to-us", "sent-long", "llc"))
		}
		for _, priv := range []uint32{13, 1000, 3900} { // the last leaves room for a part of a packet
			v3.reserve, v3.request.SizeofPriv = 4, priv
			add(with(v3, "to-us"))
		}
	}
	// Enough for a second block.
	crowd := goldenCase{version: tpacket.V3, request: blocks(2048, 0)}
	for range 11 {
		crowd = with(crowd, "to-us-long")
	}
	add(crowd)
	add(goldenCase{version: tpacket.V3, vnetHdr: true, request: blocks(2048, 0), packets: []packet{p["tcp-segments"], p["to-us"]}})
	return all
}

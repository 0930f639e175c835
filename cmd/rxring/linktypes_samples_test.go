package main

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"slices"
)

var be = binary.BigEndian

// udp4 and udp6 are packets from a documentation network to itself.
func udp4(n int) []byte {
	b := []byte{0x45, 0, 0, 36, 0, byte(n), 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(be.Uint16(b[i:]))
	}
	be.PutUint16(b[10:], ^uint16(sum>>16+sum))
	return append(b, 4, 87, 8, 174, 0, 16, 0, 0, 'r', 'x', 'r', 'i', 'n', 'g', 0, byte(n))
}

func udp6(n int) []byte {
	b := []byte{0x60, 0, 0, 0, 0, 8, 58, 64}
	b = append(b, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
	b = append(b, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2)
	return append(b, 128, 0, 0, 0, 0, 7, 0, byte(n)) // an echo request
}

var (
	mac1 = []byte{2, 0, 0, 0, 0, 1}
	mac2 = []byte{2, 0, 0, 0, 0, 2}
	arp  = slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 1}, mac1, []byte{192, 0, 2, 1}, make([]byte, 6), []byte{192, 0, 2, 2})
)

// both puts a header of IPv4, and one of IPv6, in front of packets of each.
func both(four, six []byte) [][]byte {
	return [][]byte{slices.Concat(four, udp4(1)), slices.Concat(six, udp6(2)), slices.Concat(four, udp4(3))}
}

func bare() [][]byte { return [][]byte{udp4(1), udp6(2), udp4(3)} }

// sll is a header of LINUX_SLL, and of link types like it.
func sll(kind, hatype, protocol uint16, addr ...byte) []byte {
	b := be.AppendUint16(nil, kind)
	b = be.AppendUint16(b, hatype)
	b = be.AppendUint16(b, uint16(len(addr)))
	b = append(b, append(addr, make([]byte, 8-len(addr))...)...)
	return be.AppendUint16(b, protocol)
}

func sll2(ifindex uint32, kind byte, hatype, protocol uint16, addr ...byte) []byte {
	b := be.AppendUint16(nil, protocol)
	b = be.AppendUint32(append(b, 0, 0), ifindex)
	b = be.AppendUint16(b, hatype)
	b = append(b, kind, byte(len(addr)))
	return append(b, append(addr, make([]byte, 8-len(addr))...)...)
}

// beacon is a beacon frame of IEEE 802.11 for the network "rxring".
var beacon = slices.Concat([]byte{0x80, 0, 0, 0}, bytes.Repeat([]byte{0xff}, 6), mac1, mac1, []byte{0x10, 0},
	make([]byte, 8), []byte{100, 0, 1, 0, 0, 6}, []byte("rxring"), []byte{1, 1, 0x82})

// wifiData is a data frame with an IPv4 packet.
var wifiData = slices.Concat([]byte{8, 0, 0, 0}, mac2, mac1, mac1, []byte{0x20, 0, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, udp4(1))

var snap = []byte{0xaa, 0xaa, 3, 0, 0, 0}

// sensor is a data frame of IEEE 802.15.4 between short addresses, without its FCS.
var sensor = []byte{0x41, 0x88, 7, 0x34, 0x12, 1, 0, 2, 0, 'r', 'x'}

func pflog(direction byte) []byte {
	b := make([]byte, 64)
	b[0], b[1], b[60] = 61, 2, direction
	copy(b[4:], "em0")
	return b
}

func nflog(ip []byte, family byte) []byte {
	attr := func(kind uint16, value []byte) []byte {
		b := binary.LittleEndian.AppendUint16(nil, uint16(4+len(value)))
		b = append(binary.LittleEndian.AppendUint16(b, kind), value...)
		return append(b, make([]byte, -len(b)&3)...)
	}
	return slices.Concat([]byte{family, 0, 0, 5}, attr(1, []byte{8, 0, 3, 0}), attr(10, []byte("rxring\x00")), attr(9, ip))
}

func canFrame(id uint32, data ...byte) []byte {
	b := append(be.AppendUint32(nil, id), byte(len(data)), 0, 0, 0)
	return append(b, append(data, make([]byte, 8-len(data))...)...)
}

// linkSample is packets of a link type that devices show.
type linkSample struct {
	link    uint16
	packets [][]byte
	any     bool           // tcpdump -i any shows the file's link type
	lost    *regexp.Regexp // what tcpdump -r prints of a header that readers do not get
}

var linkSamples = []linkSample{
	{link: 0, packets: both([]byte{2, 0, 0, 0}, []byte{30, 0, 0, 0})},
	{link: 1, packets: both(slices.Concat(mac2, mac1, []byte{8, 0}), slices.Concat(mac2, mac1, []byte{0x86, 0xdd}))},
	{link: 2, packets: [][]byte{slices.Concat([]byte{1, 2, 2, 0}, udp4(1))}},
	{link: 4, packets: [][]byte{slices.Concat([]byte{1, 2, 3, 4}, udp4(1))}},
	{link: 5, packets: [][]byte{slices.Concat([]byte{1, 2, 3, 4}, udp4(1))}},
	{link: 6, packets: both(slices.Concat([]byte{0x10, 0x40}, mac2, mac1, snap, []byte{8, 0}), slices.Concat([]byte{0x10, 0x40}, mac2, mac1, snap, []byte{0x86, 0xdd}))},
	{link: 8, packets: both(make([]byte, 16), append([]byte{1}, make([]byte, 15)...))},
	{link: 9, packets: both([]byte{0xff, 3, 0, 0x21}, []byte{0, 0x57})},
	{link: 10, packets: both(slices.Concat([]byte{0x50}, mac2, mac1, snap, []byte{8, 0}), slices.Concat([]byte{0x50}, mac2, mac1, snap, []byte{0x86, 0xdd}))},
	{link: 12, packets: bare()},
	{link: 14, packets: bare()},
	{link: 50, packets: both([]byte{0xff, 3, 0, 0x21}, []byte{0xff, 3, 0, 0x57}), lost: regexp.MustCompile(`(?m)^IP6?: `)},
	{link: 51, packets: both([]byte{0x11, 0, 0, 5, 0, 38, 0, 0x21}, []byte{0x11, 0, 0, 5, 0, 50, 0, 0x57})},
	{link: 100, packets: both(slices.Concat(snap, []byte{8, 0}), slices.Concat(snap, []byte{0x86, 0xdd}))},
	{link: 101, packets: bare()},
	{link: 104, packets: both([]byte{0x0f, 0, 8, 0}, []byte{0x0f, 0, 0x86, 0xdd})},
	{link: 105, packets: [][]byte{beacon, wifiData}},
	{link: 106, packets: both(slices.Concat(snap, []byte{8, 0}), slices.Concat(snap, []byte{0x86, 0xdd}))},
	{link: 107, packets: [][]byte{slices.Concat([]byte{0x18, 0x41, 3, 0xcc}, udp4(1))}},
	{link: 108, packets: both([]byte{0, 0, 0, 2}, []byte{0, 0, 0, 24})},
	{link: 109, packets: both([]byte{2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, []byte{24, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}), lost: regexp.MustCompile(`(?m)^\(unprotected\): SPI 0x00000001: `)},
	{link: 113, packets: [][]byte{
		slices.Concat(sll(0, 1, 0x800, mac1...), udp4(1)), slices.Concat(sll(4, 772, 0x86dd, make([]byte, 6)...), udp6(2)),
		slices.Concat(sll(1, 1, 0x806, mac1...), arp), slices.Concat(sll(3, 65534, 0x800), udp4(4)),
		slices.Concat(sll(2, 1, 0x8100, mac1...), []byte{0, 5, 8, 0}, udp4(5)),
	}},
	{link: 114, packets: [][]byte{slices.Concat([]byte{1, 2, 1}, udp4(1))}},
	{link: 117, packets: both(pflog(1), func() []byte { b := pflog(2); b[1] = 24; return b }())},
	{link: 119, packets: [][]byte{slices.Concat([]byte{0, 0, 0, 0x44, 0, 0, 0, 0x90}, make([]byte, 136), beacon)}},
	{link: 122, packets: both(slices.Concat([]byte{0, 0}, mac2, []byte{0, 0}, mac1, snap, []byte{8, 0}), slices.Concat([]byte{0, 0}, mac2, []byte{0, 0}, mac1, snap, []byte{0x86, 0xdd}))},
	{link: 127, packets: [][]byte{slices.Concat([]byte{0, 0, 8, 0, 0, 0, 0, 0}, beacon), slices.Concat([]byte{0, 0, 8, 0, 0, 0, 0, 0}, wifiData)}},
	{link: 129, packets: [][]byte{slices.Concat([]byte{1, 2, 0, 0, 212, 0, 0, 1}, udp4(1))}},
	{link: 138, packets: both(slices.Concat(mac2, []byte{0, 0}, mac1, []byte{0, 0, 8, 0}), slices.Concat(mac2, []byte{0, 0}, mac1, []byte{0, 0, 0x86, 0xdd}))},
	{link: 144, packets: [][]byte{slices.Concat(sll(4, 783, 0x17), []byte{0xff, 0x3f, 1}, make([]byte, 20))}},
	{link: 166, packets: both([]byte{0, 3, 0, 0x21}, []byte{1, 3, 0, 0x57})},
	{link: 177, packets: [][]byte{slices.Concat(sll(4, 8445, 0x30), []byte{0, 1, 1, 1})}},
	{link: 202, packets: [][]byte{slices.Concat([]byte{0}, bytes.Repeat([]byte{0x82}, 14), []byte{3, 0xf0, 'r', 'x'})}},
	{link: 204, packets: both([]byte{0, 0xff, 3, 0, 0x21}, []byte{1, 0xff, 3, 0, 0x57})},
	{link: 205, packets: both([]byte{0, 0x0f, 0, 8, 0}, []byte{1, 0x0f, 0, 0x86, 0xdd})},
	{link: 206, packets: [][]byte{slices.Concat([]byte{1, 0x18, 0x41, 3, 0xcc}, udp4(1))}},
	{link: 219, packets: [][]byte{slices.Concat([]byte{0, 0, 0x01, 64}, udp4(1)), slices.Concat([]byte{0, 0, 0x21, 64}, udp6(2))}},
	{link: 224, packets: [][]byte{slices.Concat([]byte{0x22, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0, 0}, make([]byte, 20))}},
	{link: 227, packets: [][]byte{canFrame(0x123, 1, 2, 3), canFrame(0x9abcdef0, 4)}},
	{link: 228, packets: [][]byte{udp4(1), udp4(2)}},
	{link: 229, packets: [][]byte{udp6(1), udp6(2)}},
	{link: 230, packets: [][]byte{sensor}},
	{link: 239, packets: [][]byte{nflog(udp4(1), 2), nflog(udp6(2), 10)}},
	{link: 242, packets: both(slices.Concat(make([]byte, 40), []byte{8, 0, 0, 0}), slices.Concat(make([]byte, 40), []byte{0x86, 0xdd, 0, 0}))},
	{link: 253, packets: [][]byte{slices.Concat(sll(4, 824, 0), binary.LittleEndian.AppendUint32(nil, 20), []byte{18, 0, 1, 3}, make([]byte, 12))}},
	{link: 271, packets: [][]byte{slices.Concat(make([]byte, 32), []byte{2, 0})}},
	{link: 276, any: true, packets: [][]byte{
		slices.Concat(sll2(77, 0, 1, 0x800, mac1...), udp4(1)), slices.Concat(sll2(78, 4, 772, 0x86dd, make([]byte, 6)...), udp6(2)),
		slices.Concat(sll2(77, 1, 1, 0x806, mac1...), arp),
	}},
}

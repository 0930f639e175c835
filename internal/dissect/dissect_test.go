package dissect_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/rxring/rxring/internal/dissect"
)

// Headers, each of which leads to what follows it.
func ether(typ uint16) []byte { return be16(make([]byte, 12), typ) }
func vlan(typ uint16) []byte  { return be16([]byte{0x60, 7}, typ) }

func be16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }

func ipv4(proto byte, frag uint16) []byte {
	b := make([]byte, 20)
	b[0], b[9] = 0x45, proto
	binary.BigEndian.PutUint16(b[6:], frag)
	copy(b[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	return b
}

func ipv6(next byte) []byte {
	b := make([]byte, 40)
	b[0], b[6] = 0x60, next
	copy(b[8:], netip.MustParseAddr("2001:db8::1").AsSlice())
	copy(b[24:], netip.MustParseAddr("2001:db8::2").AsSlice())
	return b
}

var ports = []byte{0x30, 0x39, 0, 80, 0, 0, 0, 0}

func TestAWalkEndsAtTheFlow(t *testing.T) {
	const p = 12345<<16 | 80
	const (
		udp, tcp, esp, ah = 17, 6, 50, 51
		four, six         = 4, 16
	)
	for _, c := range []struct {
		name     string
		protocol uint16
		headers  [][]byte // after the Ethernet header
		want     dissect.Flow
	}{
		{"IPv4", 0x0800, [][]byte{ipv4(udp, 0), ports}, dissect.Flow{Whole: true, Ether: 0x0800, Transport: udp, AddrLen: four, Ports: p, Pos: 34}},
		{"IPv4, fragments may not be cut into less", 0x0800, [][]byte{ipv4(udp, 0x4000), ports}, dissect.Flow{Whole: true, Ether: 0x0800, Transport: udp, AddrLen: four, Ports: p, Pos: 34}},
		{"first fragment: its ports do not count", 0x0800, [][]byte{ipv4(udp, 0x2000), ports}, dissect.Flow{Whole: true, Ether: 0x0800, Transport: udp, AddrLen: four, Fragment: true, Pos: 34}},
		{"later fragment", 0x0800, [][]byte{ipv4(udp, 7), ports}, dissect.Flow{Whole: true, Ether: 0x0800, Transport: udp, AddrLen: four, Fragment: true, Later: true, Pos: 34}},
		{"IPv6", 0x86dd, [][]byte{ipv6(tcp), ports}, dissect.Flow{Whole: true, Ether: 0x86dd, Transport: tcp, AddrLen: six, Ports: p, Pos: 54}},
		{"IPv6 behind an extension header", 0x86dd, [][]byte{ipv6(60), {tcp, 0, 0, 0, 0, 0, 0, 0}, ports}, dissect.Flow{Whole: true, Ether: 0x86dd, Transport: tcp, AddrLen: six, Ports: p, Pos: 62}},
		{"IPv6 fragment", 0x86dd, [][]byte{ipv6(44), {tcp, 0, 0, 8, 0, 0, 0, 1}, ports}, dissect.Flow{Whole: true, Ether: 0x86dd, Transport: tcp, AddrLen: six, Fragment: true, Later: true, Pos: 62}},
		{"VLAN in VLAN", 0x88a8, [][]byte{vlan(0x8100), vlan(0x0800), ipv4(udp, 0), ports}, dissect.Flow{Whole: true, Ether: 0x0800, Transport: udp, AddrLen: four, Ports: p, Pos: 42}},
		{"PPPoE", 0x8864, [][]byte{{0x11, 0, 0, 1, 0, 30, 0, 0x21}, ipv4(udp, 0), ports}, dissect.Flow{Whole: true, Ether: 0x0800, Transport: udp, AddrLen: four, Ports: p, Pos: 42}},
		{"IPv6 in IPv4", 0x0800, [][]byte{ipv4(41, 0), ipv6(tcp), ports}, dissect.Flow{Whole: true, Ether: 0x86dd, Transport: tcp, AddrLen: six, Ports: p, Pos: 74}},
		{"GRE with a key", 0x0800, [][]byte{ipv4(47, 0), {0x20, 0, 0x86, 0xdd, 0, 0, 0, 9}, ipv6(tcp), ports}, dissect.Flow{Whole: true, Ether: 0x86dd, Transport: tcp, AddrLen: six, Ports: p, Pos: 82}},
		{"ESP: the security association stands for ports", 0x0800, [][]byte{ipv4(esp, 0), ports}, dissect.Flow{Whole: true, Ether: 0x0800, Transport: esp, AddrLen: four, Ports: p, Pos: 34}},
		{"AH", 0x0800, [][]byte{ipv4(ah, 0), {tcp, 4, 0, 0}, ports}, dissect.Flow{Whole: true, Ether: 0x0800, Transport: ah, AddrLen: four, Ports: p, Pos: 34}},
		{"ICMP has no ports", 0x0800, [][]byte{ipv4(1, 0), ports}, dissect.Flow{Whole: true, Ether: 0x0800, Transport: 1, AddrLen: four, Pos: 34}},
		{"ports cut off", 0x0800, [][]byte{ipv4(udp, 0), {1, 2, 3}}, dissect.Flow{Whole: true, Ether: 0x0800, Transport: udp, AddrLen: four, Pos: 34}},
		{"ARP", 0x0806, [][]byte{make([]byte, 28)}, dissect.Flow{Whole: true, Ether: 0x0806, Pos: 14}},
		{"an unknown EtherType", 0x88b5, [][]byte{make([]byte, 28)}, dissect.Flow{Ether: 0x88b5, Pos: 14}},
		{"header length that makes no sense", 0x0800, [][]byte{make([]byte, 40)}, dissect.Flow{Ether: 0x0800, Pos: 14}},
		{"cut off within a tunnel: the outer addresses stay", 0x0800, [][]byte{ipv4(4, 0), ipv4(udp, 0)[:19]}, dissect.Flow{Ether: 0x0800, Transport: 4, AddrLen: four, Pos: 34}},
	} {
		t.Run(c.name, func(t *testing.T) {
			frame := slices.Concat(append([][]byte{ether(c.protocol)}, c.headers...)...)
			switch c.want.AddrLen {
			case four:
				copy(c.want.Src[:], []byte{192, 0, 2, 1})
				copy(c.want.Dst[:], []byte{192, 0, 2, 2})
			case six:
				c.want.Src = netip.MustParseAddr("2001:db8::1").As16()
				c.want.Dst = netip.MustParseAddr("2001:db8::2").As16()
			}
			for _, size := range []int{len(frame), 1, 3, 16} { // one piece, or many
				p := dissect.Packet{NetOff: 14, Protocol: c.protocol}
				for piece := range slices.Chunk(frame, size) {
					p.Rest = append(p.Rest, piece)
				}
				p.Data, p.Rest = p.Rest[0], p.Rest[1:]
				var got dissect.Flow
				dissect.Walk(&p, &got)
				if c.want.AddrLen == four { // bytes beyond it do not count
					clear(got.Src[4:])
					clear(got.Dst[4:])
				}
				if got != c.want {
					t.Errorf("pieces of %d bytes:\n%+v, want\n%+v", size, got, c.want)
				}
			}
		})
	}
}

func TestHeadersInHeadersEndSomewhere(t *testing.T) {
	frame := ether(0x8100)
	for range 100 {
		frame = append(frame, vlan(0x8100)...)
	}
	for _, tagged := range []bool{false, true} {
		var f dissect.Flow
		dissect.Walk(&dissect.Packet{Data: frame, NetOff: 14, Protocol: 0x8100, Tagged: tagged}, &f)
		want := 14 + 16*4
		if tagged {
			want -= 4
		}
		if !f.Whole || f.Pos != want {
			t.Errorf("a tag beside the frame %v: ended at %d, want %d: the tag counts as a header", tagged, f.Pos, want)
		}
	}
}

func FuzzWalk(f *testing.F) {
	f.Add(slices.Concat(ether(0x0800), ipv4(47, 0), []byte{0x20, 0, 0x86, 0xdd, 0, 0, 0, 9}, ipv6(6), ports), uint16(0x0800), uint8(20))
	f.Add(slices.Concat(ether(0x8864), []byte{0x11, 0, 0, 1, 0, 30, 0, 0x21}, ipv4(17, 0), ports), uint16(0x8864), uint8(1))
	f.Add(slices.Concat(ether(0x86dd), ipv6(60), []byte{6, 255, 0, 0, 0, 0, 0, 0}, ports), uint16(0x86dd), uint8(255))
	f.Fuzz(func(t *testing.T, frame []byte, protocol uint16, cut uint8) {
		at := min(int(cut), len(frame))
		var one, two dissect.Flow
		dissect.Walk(&dissect.Packet{Data: frame, NetOff: 14, Protocol: protocol}, &one)
		dissect.Walk(&dissect.Packet{Data: frame[:at], Rest: [][]byte{frame[at:]}, NetOff: 14, Protocol: protocol}, &two)
		if one != two {
			t.Errorf("in one piece %+v\nin two, cut at %d, %+v", one, at, two)
		}
		if one.AddrLen != 0 && one.AddrLen != 4 && one.AddrLen != 16 || one.Later && !one.Fragment || one.Fragment && one.Ports != 0 {
			t.Errorf("%+v", one)
		}
	})
}

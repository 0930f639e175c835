package serve

import (
	"fmt"

	"golang.org/x/net/bpf"

	"github.com/rxring/rxring/cbpf"
	"github.com/rxring/rxring/tpacket"
)

// Numbers of linux/in.h, and of the headers' RFCs.
const (
	etherLen  = 14
	vlanLen   = 4
	ip4Min    = 20
	ip4Max    = 60
	ip6Len    = 40
	tcpMin    = 20
	tcpMax    = 60
	udpLen    = 8
	icmpLen   = 8
	sctpLen   = 12
	arpLen    = 28 // of Ethernet and IPv4 addresses
	arpFixed  = 8
	arpSizes  = 6<<8 | 4 // hardware and protocol address length of such
	fragments = 0x1fff   // IPv4's fragment offset

	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132
)

// headersSnaplen is the most that [Headers] returns: Ethernet, two VLAN tags, and IPv4 and
// TCP with all options.
const headersSnaplen = etherLen + 2*vlanLen + ip4Max + tcpMax

// Headers returns a program that truncates every packet after its headers, counted from the
// link-layer header on:
//
//   - the link-layer header, and up to two VLAN tags;
//   - ARP for IPv4, complete;
//   - IPv4 with its options; the first 40 bytes of IPv6, and more only if no extension
//     header follows;
//   - TCP with its options, 8 bytes of UDP, ICMP and ICMPv6, 12 of SCTP; no byte after the
//     IP header of another protocol, or of any fragment but the first.
//
// It rejects a packet that ends within these headers.
func Headers() []cbpf.Instruction {
	var p program
	const m0, m1, m2 = 0, 1, 2 // bytes of link-layer header; of IPv4's; the IP protocol

	p.load(bpf.LoadExtension{Num: bpf.ExtLinkLayerType})
	p.jump(bpf.JumpEqual, tpacket.ARPHRDEther, "ether")
	p.jump(bpf.JumpEqual, tpacket.ARPHRDLoopback, "ether")
	p.load(bpf.LoadConstant{Dst: bpf.RegA, Val: 0}) // raw IP
	p.to("link")
	p.label("ether")
	p.load(bpf.LoadConstant{Dst: bpf.RegA, Val: etherLen})
	p.label("link")
	p.load(bpf.StoreScratch{Src: bpf.RegA, N: m0})

	// From here on, X is the offset from the start of the network header.
	p.load(bpf.LoadConstant{Dst: bpf.RegX, Val: 0})
	p.load(bpf.LoadExtension{Num: bpf.ExtProto})
	for tag := uint32(0); tag < 2; tag++ {
		tagged, plain := fmt.Sprint("tagged", tag), "type"
		p.jump(bpf.JumpEqual, tpacket.ETHP8021Q, tagged)
		p.jump(bpf.JumpEqual, tpacket.ETHP8021AD, tagged)
		p.to(plain)
		p.label(tagged)
		p.load(bpf.LoadAbsolute{Off: cbpf.NetOff + tag*vlanLen + 2, Size: 2}) // after the TCI
		p.load(bpf.StoreScratch{Src: bpf.RegA, N: m2})
		p.load(bpf.LoadConstant{Dst: bpf.RegX, Val: (tag + 1) * vlanLen})
		p.load(bpf.LoadScratch{Dst: bpf.RegA, N: m2})
	}
	p.label("type")
	p.jump(bpf.JumpEqual, tpacket.ETHPIP, "ip4")
	p.jump(bpf.JumpEqual, tpacket.ETHPIPv6, "ip6")
	p.jump(bpf.JumpEqual, tpacket.ETHPARP, "arp")
	p.to("end")

	p.label("arp")
	p.load(bpf.LoadIndirect{Off: cbpf.NetOff + 4, Size: 2})
	p.jump(bpf.JumpEqual, arpSizes, "arp4")
	p.pass(arpFixed)
	p.label("arp4")
	p.pass(arpLen)

	p.label("ip4")
	p.load(bpf.LoadIndirect{Off: cbpf.NetOff, Size: 1})
	p.load(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	p.unless(bpf.JumpEqual, 4, "end")
	p.load(bpf.LoadIndirect{Off: cbpf.NetOff, Size: 1})
	p.load(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf})
	p.load(bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2})
	p.unless(bpf.JumpGreaterOrEqual, ip4Min, "end")
	p.load(bpf.StoreScratch{Src: bpf.RegA, N: m1})
	p.load(bpf.LoadIndirect{Off: cbpf.NetOff + 9, Size: 1})
	p.load(bpf.StoreScratch{Src: bpf.RegA, N: m2})
	p.load(bpf.LoadIndirect{Off: cbpf.NetOff + 6, Size: 2})
	p.jump(bpf.JumpBitsSet, fragments, "options")
	p.load(bpf.LoadScratch{Dst: bpf.RegA, N: m1})
	p.load(bpf.ALUOpX{Op: bpf.ALUOpAdd})
	p.load(bpf.TAX{})
	p.load(bpf.LoadScratch{Dst: bpf.RegA, N: m2})
	p.jump(bpf.JumpEqual, protoICMP, "icmp")
	p.to("transport")
	p.label("options")
	p.load(bpf.LoadScratch{Dst: bpf.RegA, N: m1})
	p.to("add")

	p.label("ip6")
	p.load(bpf.LoadIndirect{Off: cbpf.NetOff, Size: 1})
	p.load(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	p.unless(bpf.JumpEqual, 6, "end")
	p.load(bpf.LoadIndirect{Off: cbpf.NetOff + 6, Size: 1})
	p.load(bpf.StoreScratch{Src: bpf.RegA, N: m2})
	p.load(bpf.TXA{})
	p.load(bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: ip6Len})
	p.load(bpf.TAX{})
	p.load(bpf.LoadScratch{Dst: bpf.RegA, N: m2})
	p.jump(bpf.JumpEqual, protoICMPv6, "icmp")

	p.label("transport")
	p.jump(bpf.JumpEqual, protoTCP, "tcp")
	p.jump(bpf.JumpEqual, protoUDP, "udp")
	p.jump(bpf.JumpEqual, protoSCTP, "sctp")
	p.to("end")
	p.label("icmp")
	p.pass(icmpLen)
	p.label("udp")
	p.pass(udpLen)
	p.label("sctp")
	p.pass(sctpLen)
	p.label("tcp")
	p.load(bpf.LoadIndirect{Off: cbpf.NetOff + 12, Size: 1})
	p.load(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	p.load(bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2})
	p.unless(bpf.JumpGreaterOrEqual, tcpMin, "end")

	p.label("add")
	p.load(bpf.ALUOpX{Op: bpf.ALUOpAdd})
	p.load(bpf.TAX{})
	p.label("end")
	p.load(bpf.LoadScratch{Dst: bpf.RegA, N: m0})
	p.load(bpf.ALUOpX{Op: bpf.ALUOpAdd})
	p.load(bpf.RetA{})
	return p.assemble()
}

// program is a program with forward jumps to labels.
type program struct {
	ins    []bpf.Instruction
	jumps  map[int]string // by the number of the instruction
	labels map[string]int
}

func (p *program) load(in bpf.Instruction) { p.ins = append(p.ins, in) }

func (p *program) label(name string) {
	if p.labels == nil {
		p.labels = make(map[string]int)
	}
	p.labels[name] = len(p.ins)
}

func (p *program) jumpIn(in bpf.Instruction, label string) {
	if p.jumps == nil {
		p.jumps = make(map[int]string)
	}
	p.jumps[len(p.ins)] = label
	p.ins = append(p.ins, in)
}

// to jumps always, jump if the test of A holds, unless if it does not.
func (p *program) to(label string) { p.jumpIn(bpf.Jump{}, label) }

func (p *program) jump(test bpf.JumpTest, val uint32, label string) {
	p.jumpIn(bpf.JumpIf{Cond: test, Val: val}, label)
}

func (p *program) unless(test bpf.JumpTest, val uint32, label string) {
	next := fmt.Sprint("behind", len(p.ins))
	p.jump(test, val, next)
	p.to(label)
	p.label(next)
}

// pass ends the program with n more bytes.
func (p *program) pass(n uint32) {
	p.load(bpf.LoadConstant{Dst: bpf.RegA, Val: n})
	p.to("add")
}

// assemble panics if a label is missing or too far: programs are constant.
func (p *program) assemble() []cbpf.Instruction {
	for at, label := range p.jumps {
		to, ok := p.labels[label]
		if !ok {
			panic("no label " + label)
		}
		switch in := p.ins[at].(type) {
		case bpf.Jump:
			in.Skip = uint32(to - at - 1)
			p.ins[at] = in
		case bpf.JumpIf:
			if in.SkipTrue = uint8(to - at - 1); int(in.SkipTrue) != to-at-1 {
				panic("label " + label + " is too far")
			}
			p.ins[at] = in
		}
	}
	raw, err := bpf.Assemble(p.ins)
	if err != nil {
		panic(err)
	}
	return cbpf.From(raw)
}

package cbpf

import "testing"

// returning makes a program of instructions that ends with A as its verdict.
func returning(prog ...Instruction) []Instruction {
	return append(prog, Instruction{Op: classRET | retA})
}

func ld(mode, size uint16, k uint32) Instruction { return Instruction{Op: classLD | mode | size, K: k} }

func aux(ad uint32) Instruction { return ld(modeABS, sizeW, AdOff+ad) }

func imm(a, x uint32) []Instruction {
	return []Instruction{{Op: classLD | modeIMM, K: a}, {Op: classLDX | modeIMM, K: x}}
}

func TestRunMeansWhatLinuxMeans(t *testing.T) {
	frame := ethernet(0x800, ipv4(6, tcp(40000, 80, []byte("payload"))))
	raw := Packet{
		Data: frame, Len: uint32(len(frame)), NetOff: 14, Protocol: 0x800, PacketType: 4, Ifindex: 7,
		Hatype: 1, Mark: 0xfeed, RxHash: 0xbeef, Queue: 3, CPU: 5,
		VLANPresent: true, VLANTCI: 0x6005, VLANTPID: 0x88a8,
	}
	dgram := raw
	dgram.Start = 14
	pieces := raw
	pieces.Data, pieces.Rest = frame[:15], [][]byte{frame[15:16], nil, frame[16:]}
	empty := Packet{}
	beyond := Packet{Data: []byte{1}, Len: 1, Start: 2}

	for _, c := range []struct {
		story  string
		packet *Packet
		prog   []Instruction
		want   uint32
	}{
		{"a half word is big-endian", &raw, returning(ld(modeABS, sizeH, 12)), 0x800},
		{"a word across pieces", &pieces, returning(ld(modeABS, sizeW, 13)), 0x00450000},
		{"a byte of the last piece", &pieces, returning(ld(modeABS, sizeB, 23)), 6},
		{"a load beyond the packet drops it", &raw, []Instruction{ld(modeABS, sizeB, raw.Len), {Op: classRET, K: 9}}, 0},
		{"so does one that reaches beyond it", &pieces, []Instruction{ld(modeABS, sizeW, raw.Len-3), {Op: classRET, K: 9}}, 0},
		{"nothing can be loaded from nothing", &empty, []Instruction{ld(modeABS, sizeB, 0), {Op: classRET, K: 9}}, 0},
		{"nor from a header cut off", &beyond, []Instruction{ld(modeABS, sizeB, 0), {Op: classRET, K: 9}}, 0},
		{"the length is that of all pieces", &pieces, returning(ld(modeLEN, 0, 0)), raw.Len},
		{"SOCK_DGRAM does not count the link-layer header", &dgram, returning(ld(modeLEN, 0, 0)), raw.Len - 14},
		{"SOCK_DGRAM starts at the network header", &dgram, returning(ld(modeABS, sizeB, 9)), 6},
		{"and reaches the link-layer header if it asks", &dgram, returning(ld(modeABS, sizeH, LLOff+12)), 0x800},
		{"the network header, wherever the program starts", &dgram, returning(ld(modeABS, sizeB, NetOff+9)), 6},
		{"relative to the link-layer header by X", &raw, append(imm(0, 12), returning(ld(modeIND, sizeH, LLOff))...), 0x800},
		{"an indirect offset wraps around", &raw, append(imm(0, 0xffffffff), returning(ld(modeIND, sizeH, 13))...), 0x800},
		{"below every header there is nothing", &raw, returning(ld(modeABS, sizeB, LLOff-1)), 0},
		{"the length of an IPv4 header", &raw, returning(Instruction{Op: classLDX | modeMSH | sizeB, K: 14}, Instruction{Op: classMISC | miscTXA}), 20},
		{"the same from a further piece", &pieces, returning(Instruction{Op: classLDX | modeMSH | sizeB, K: 23}, Instruction{Op: classMISC | miscTXA}), 24},
		{"division by an X of 0 drops the packet", &raw, append(imm(8, 0), Instruction{Op: classALU | aluDIV | srcX}, Instruction{Op: classRET, K: 9}), 0},
		{"and the remainder, too", &raw, append(imm(8, 0), Instruction{Op: classALU | aluMOD | srcX}, Instruction{Op: classRET, K: 9}), 0},
		{"a shift by X counts five bits of it", &raw, append(imm(1, 33), returning(Instruction{Op: classALU | aluLSH | srcX})...), 2},
		{"arithmetic wraps around", &raw, append(imm(1, 2), returning(Instruction{Op: classALU | aluSUB | srcX})...), 0xffffffff},
		{"numbers have no sign", &raw, append(imm(0x80000000, 1), Instruction{Op: classJMP | jmpJGT | srcX, Jf: 1}, Instruction{Op: classRET, K: 1}, ret0), 1},

		{"protocol", &raw, returning(aux(AdProtocol)), 0x800},
		{"packet type", &raw, returning(aux(AdPktType)), 4},
		{"device", &raw, returning(aux(AdIfindex)), 7},
		{"device type", &raw, returning(aux(AdHatype)), 1},
		{"mark", &raw, returning(aux(adMark)), 0xfeed},
		{"hash", &raw, returning(aux(adRxHash)), 0xbeef},
		{"queue", &raw, returning(aux(adQueue)), 3},
		{"processor", &raw, returning(aux(adCPU)), 5},
		{"VLAN tag with its priority", &raw, returning(aux(adVLANTag)), 0x6005},
		{"VLAN tag is there", &raw, returning(aux(adVLANTagPresent)), 1},
		{"VLAN tag is not there", &empty, append(imm(9, 0), returning(aux(adVLANTagPresent))...), 0},
		{"VLAN protocol", &raw, returning(aux(adVLANTPID)), 0x88a8},
		{"the load that is an exclusive or", &raw, append(imm(6, 5), returning(aux(adAluXorX))...), 3},
		{"payload of a TCP segment", &raw, returning(aux(adPayOffset)), 54},
		{"payload seen by SOCK_DGRAM", &dgram, returning(aux(adPayOffset)), 40},
		{"payload across pieces", &pieces, returning(aux(adPayOffset)), 54},
	} {
		t.Run(c.story, func(t *testing.T) {
			if got := mustCompile(t, c.prog).Run(c.packet); got != c.want {
				t.Errorf("%d (%#[1]x), want %d (%#[2]x)\n%v", got, c.want, listing(c.prog))
			}
		})
	}
}

func TestRandomLoadsDiffer(t *testing.T) {
	f := mustCompile(t, returning(aux(adRandom)))
	seen := map[uint32]bool{}
	for range 10 {
		seen[f.Run(&Packet{})] = true
	}
	if len(seen) < 2 {
		t.Errorf("ten random loads gave %v", seen)
	}
}

func TestRunAllocatesNothing(t *testing.T) {
	frame := ethernet(0x800, ipv4(6, tcp(40000, 80, nil)))
	progs := [][]Instruction{
		libpcap(t, "en10mb.txt", "tcp port 80"),
		libpcap(t, "live_lo.txt", "vlan 5 and tcp"),
		returning(aux(adRandom), aux(adPayOffset), aux(adNlattr), ld(modeABS, sizeW, 30)),
	}
	for _, prog := range progs {
		f := mustCompile(t, prog)
		var kept uint32
		n := testing.AllocsPerRun(100, func() { // as a socket would, a Packet on the stack
			p := Packet{Data: frame[:20], Len: uint32(len(frame)), NetOff: 14, Protocol: 0x800}
			var rest [1][]byte
			rest[0] = frame[20:]
			p.Rest = rest[:]
			kept += f.Run(&p)
		})
		if n != 0 {
			t.Errorf("%v allocations, want none, by\n%v", n, listing(prog))
		}
	}
}

func TestAFilterKeepsNothingOfItsProgram(t *testing.T) {
	prog := []Instruction{{Op: classRET, K: 5}}
	f := mustCompile(t, prog)
	prog[0].K = 6
	if got := f.Run(&Packet{}); got != 5 {
		t.Errorf("keeps %d, want 5", got)
	}
}

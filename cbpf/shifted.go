package cbpf

import "math"

// Shifted returns a program that accepts a packet if prog accepts it when run from offset n of
// the packet on, and that keeps more bytes more; all, if prog computes how many (OpRetA). With
// n = [NetOff], prog is run from the network header on, wherever that is.
//
// ok is false if Shifted knows no such program of valid size: prog searches the packet ([Walks])
// or loads its length into X or, with NetOff, loads its length or from a place that is not known
// to be within 1 MiB of the header.
func Shifted(prog []Instruction, n, more uint32) (shifted []Instruction, ok bool) {
	if Walks(prog) > 0 {
		return nil, false
	}
	var (
		at   = make([]int, len(prog)) // the place in shifted of each instruction
		most = mostX(prog)
	)
	for i, in := range prog {
		at[i] = len(shifted)
		if shifted, ok = in.appendShifted(shifted, n, more, most[i]); !ok {
			return nil, false
		}
	}
	for i, in := range prog {
		distance := func(d uint32) uint32 { return uint32(at[i+1+int(d)] - at[i] - 1) }
		switch jump := &shifted[at[i]]; {
		case in.Op == OpJA:
			jump.K = distance(in.K)
		case in.Op&0x07 == classJMP:
			jt, jf := distance(uint32(in.Jt)), distance(uint32(in.Jf))
			if max(jt, jf) > math.MaxUint8 {
				return nil, false
			}
			jump.Jt, jump.Jf = uint8(jt), uint8(jf)
		}
	}
	return shifted, len(shifted) <= maxInstructions
}

// appendShifted appends what replaces one instruction before which X is at most x. A and X are
// afterwards what they are after the instruction. Jumps are replaced by themselves.
func (in Instruction) appendShifted(to []Instruction, n, more, x uint32) (all []Instruction, ok bool) {
	limit := uint32(1 << 31) // offsets below it count from n
	if n == NetOff {
		limit = AdOff - NetOff
	}
	_, ancillary := in.Ancillary()
	switch {
	case ancillary:
	case in.Op == classLD|modeLEN && n != NetOff:
		return append(to, in, Instruction{Op: classALU | aluSUB, K: n}), true
	case in.Op == classLD|modeLEN, in.Op == classLDX|modeLEN:
		return nil, false
	case in.Op&0x07 == classLD && in.Op&0xe0 == modeIND:
		shifted := in
		shifted.K += n
		switch {
		case uint64(x)+uint64(in.K) < uint64(limit):
			in = shifted
		case n == NetOff:
			return nil, false
		default: // offsets of other kinds, which are negative in Linux, are relative to a header
			return append(to,
				Instruction{Op: classMISC | miscTXA},
				Instruction{Op: classALU | aluADD, K: in.K},
				Instruction{Op: classJMP | jmpJGE, Jf: 2, K: limit},
				in,
				Instruction{Op: OpJA, K: 1},
				shifted,
			), true
		}
	case in.LoadsPacket() && in.K < limit:
		in.K += n
	case in.LoadsPacket() && in.K < 1<<31:
		return nil, false
	case in.Op == OpRetK && in.K != 0:
		in.K += min(more, math.MaxUint32-in.K)
	case in.Op == OpRetA:
		return append(to, Instruction{Op: OpJEQ, Jf: 1}, Instruction{Op: OpRetK}, Instruction{Op: OpRetK, K: math.MaxUint32}), true
	}
	return append(to, in), true
}

// mostX returns the largest value that X can have before each instruction.
func mostX(prog []Instruction) []uint32 {
	most := make([]uint32, len(prog))
	x := uint32(0)
	for i, in := range prog {
		most[i] = max(most[i], x)
		x = most[i]
		reach := func(d uint32) { most[i+1+int(d)] = max(most[i+1+int(d)], x) }
		switch {
		case in.Op == classLDX|modeIMM:
			x = in.K
		case in.Op == classLDX|sizeB|modeMSH:
			x = 15 * 4
		case in.Op&0x07 == classLDX, in.Op == classMISC|miscTAX:
			x = math.MaxUint32
		case in.Op == OpJA:
			reach(in.K)
			x = 0 // the next instruction is reached by jumps only
		case in.Op&0x07 == classJMP:
			reach(uint32(in.Jt))
			reach(uint32(in.Jf))
			x = 0
		case in.Op&0x07 == classRET:
			x = 0
		}
	}
	return most
}

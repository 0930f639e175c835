package cbpf

// interpret runs a checked program from instruction pc on. It implements every
// instruction on any packet, and is the reference for Run. attrs is the most netlink
// attributes that a load inspects.
func interpret(prog []Instruction, attrs int, p *Packet, pc uint, a, x uint32, mem [scratchWords]uint32) uint32 {
	var ok bool
	for {
		in := prog[pc]
		pc++
		switch in.Op & 0x07 {
		case classLD, classLDX:
			v := in.K // modeIMM
			switch in.Op & 0xe0 {
			case modeABS:
				if ad, ancillary := in.Ancillary(); ancillary {
					v = p.ancillary(ad, a, x, attrs)
				} else if v, ok = p.load(in.K, in.size()); !ok {
					return 0
				}
			case modeIND:
				if v, ok = p.load(x+in.K, in.size()); !ok {
					return 0
				}
			case modeMSH: // the length of an IPv4 header
				if v, ok = p.load(in.K, 1); !ok {
					return 0
				}
				v = v & 15 * 4
			case modeMEM:
				v = mem[in.K%scratchWords]
			case modeLEN:
				v = p.Len - p.Start
			}
			if in.Op&0x07 == classLD {
				a = v
			} else {
				x = v
			}
		case classST:
			mem[in.K%scratchWords] = a
		case classSTX:
			mem[in.K%scratchWords] = x
		case classALU:
			v := in.K
			if in.Op&srcX != 0 {
				v = x
			}
			if a, ok = alu(in.Op&0xf0, a, v); !ok {
				return 0
			}
		case classJMP:
			v := in.K
			if in.Op&srcX != 0 {
				v = x
			}
			switch {
			case in.Op&0xf0 == jmpJA:
				pc += uint(in.K)
			case holds(in.Op&0xf0, a, v):
				pc += uint(in.Jt)
			default:
				pc += uint(in.Jf)
			}
		case classRET:
			if in.Op == classRET|retA {
				return a
			}
			return in.K
		case classMISC:
			if in.Op == classMISC|miscTAX {
				x = a
			} else {
				a = x
			}
		}
	}
}

// alu computes a op v. ok is false for a division by 0, which ends the program.
func alu(op uint16, a, v uint32) (r uint32, ok bool) {
	switch op {
	case aluADD:
		return a + v, true
	case aluSUB:
		return a - v, true
	case aluMUL:
		return a * v, true
	case aluDIV:
		if v == 0 {
			return 0, false
		}
		return a / v, true
	case aluMOD:
		if v == 0 {
			return 0, false
		}
		return a % v, true
	case aluAND:
		return a & v, true
	case aluOR:
		return a | v, true
	case aluXOR:
		return a ^ v, true
	case aluLSH: // by X modulo 32
		return a << (v & 31), true
	case aluRSH:
		return a >> (v & 31), true
	}
	return -a, true // aluNEG
}

// holds reports whether the condition of a jump is true.
func holds(op uint16, a, v uint32) bool {
	switch op {
	case jmpJEQ:
		return a == v
	case jmpJGT:
		return a > v
	case jmpJGE:
		return a >= v
	}
	return a&v != 0 // jmpJSET
}

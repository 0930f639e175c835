package cbpf

import (
	"encoding/binary"
)

// Filter is a checked program, ready to run. It is immutable: any number of
// goroutines may run it at once.
type Filter struct {
	steps []step
}

// Compile checks a program as Linux's bpf_check_classic does. An error is a
// [*CheckError].
func Compile(prog []Instruction) (*Filter, error) {
	if err := check(prog); err != nil {
		return nil, err
	}
	return &Filter{steps: lower(prog)}, nil
}

// Run returns how many bytes of p to keep; 0: none, drop it. It may be more
// than there are.
func (f *Filter) Run(p *Packet) uint32 {
	var (
		steps = f.steps
		data  = p.view()
		a, x  uint32
		mem   [scratchWords]uint32
		ok    bool
		pc    uint
	)
	// Loads try the first piece in line; p.load knows everything else. Offsets
	// that are negative to Linux lie beyond every slice.
	for {
		s := &steps[pc]
		pc++
		switch s.op {
		case opRetK:
			return s.k
		case opRetA:
			return a

		case opLdB:
			if i := uint64(s.k); i < uint64(len(data)) {
				a = uint32(data[i])
			} else if a, ok = p.load(s.k, 1); !ok {
				return 0
			}
		case opLdH:
			if i := uint64(s.k); i+2 <= uint64(len(data)) {
				a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			} else if a, ok = p.load(s.k, 2); !ok {
				return 0
			}
		case opLdW:
			if i := uint64(s.k); i+4 <= uint64(len(data)) {
				a = binary.BigEndian.Uint32(data[i : i+4])
			} else if a, ok = p.load(s.k, 4); !ok {
				return 0
			}
		case opLdIndB:
			off := x + s.k
			if i := uint64(off); i < uint64(len(data)) {
				a = uint32(data[i])
			} else if a, ok = p.load(off, 1); !ok {
				return 0
			}
		case opLdIndH:
			off := x + s.k
			if i := uint64(off); i+2 <= uint64(len(data)) {
				a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			} else if a, ok = p.load(off, 2); !ok {
				return 0
			}
		case opLdIndW:
			off := x + s.k
			if i := uint64(off); i+4 <= uint64(len(data)) {
				a = binary.BigEndian.Uint32(data[i : i+4])
			} else if a, ok = p.load(off, 4); !ok {
				return 0
			}
		case opLdFar:
			if a, ok = p.load(s.k, s.size); !ok {
				return 0
			}
		case opLdAncillary:
			if a, ok = p.ancillary(s.k, a, x); !ok {
				return 0
			}
		case opLdK:
			a = s.k
		case opLdMem:
			a = mem[s.k%scratchWords]
		case opLdLen:
			a = p.Len - p.Start

		case opLdxMsh: // X = 4 * (byte & 15): the length of an IPv4 header
			if i := uint64(s.k); i < uint64(len(data)) {
				x = uint32(data[i]&15) * 4
			} else if x, ok = p.load(s.k, 1); ok {
				x = x & 15 * 4
			} else {
				return 0
			}
		case opLdxK:
			x = s.k
		case opLdxMem:
			x = mem[s.k%scratchWords]
		case opLdxLen:
			x = p.Len - p.Start
		case opSt:
			mem[s.k%scratchWords] = a
		case opStx:
			mem[s.k%scratchWords] = x
		case opTax:
			x = a
		case opTxa:
			a = x

		case opAddK:
			a += s.k
		case opSubK:
			a -= s.k
		case opMulK:
			a *= s.k
		case opDivK:
			a /= s.k
		case opModK:
			a %= s.k
		case opAndK:
			a &= s.k
		case opOrK:
			a |= s.k
		case opXorK:
			a ^= s.k
		case opLshK:
			a <<= s.k & 31
		case opRshK:
			a >>= s.k & 31
		case opAddX:
			a += x
		case opSubX:
			a -= x
		case opMulX:
			a *= x
		case opDivX:
			if x == 0 {
				return 0
			}
			a /= x
		case opModX:
			if x == 0 {
				return 0
			}
			a %= x
		case opAndX:
			a &= x
		case opOrX:
			a |= x
		case opXorX:
			a ^= x
		case opLshX:
			a <<= x & 31
		case opRshX:
			a >>= x & 31
		case opNeg:
			a = -a

		case opJa:
			pc = uint(s.jt)
		case opJeqK:
			pc = uint(s.jf)
			if a == s.k {
				pc = uint(s.jt)
			}
		case opJgtK:
			pc = uint(s.jf)
			if a > s.k {
				pc = uint(s.jt)
			}
		case opJgeK:
			pc = uint(s.jf)
			if a >= s.k {
				pc = uint(s.jt)
			}
		case opJsetK:
			pc = uint(s.jf)
			if a&s.k != 0 {
				pc = uint(s.jt)
			}
		case opJeqX:
			pc = uint(s.jf)
			if a == x {
				pc = uint(s.jt)
			}
		case opJgtX:
			pc = uint(s.jf)
			if a > x {
				pc = uint(s.jt)
			}
		case opJgeX:
			pc = uint(s.jf)
			if a >= x {
				pc = uint(s.jt)
			}
		case opJsetX:
			pc = uint(s.jf)
			if a&x != 0 {
				pc = uint(s.jt)
			}

		case opLdBJeq:
			if i := uint64(s.k); i < uint64(len(data)) {
				a = uint32(data[i])
			} else if a, ok = p.load(s.k, 1); !ok {
				return 0
			}
			pc = uint(s.jf)
			if a == s.v {
				pc = uint(s.jt)
			}
		case opLdHJeq:
			if i := uint64(s.k); i+2 <= uint64(len(data)) {
				a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			} else if a, ok = p.load(s.k, 2); !ok {
				return 0
			}
			pc = uint(s.jf)
			if a == s.v {
				pc = uint(s.jt)
			}
		case opLdWJeq:
			if i := uint64(s.k); i+4 <= uint64(len(data)) {
				a = binary.BigEndian.Uint32(data[i : i+4])
			} else if a, ok = p.load(s.k, 4); !ok {
				return 0
			}
			pc = uint(s.jf)
			if a == s.v {
				pc = uint(s.jt)
			}
		case opLdBJset:
			if i := uint64(s.k); i < uint64(len(data)) {
				a = uint32(data[i])
			} else if a, ok = p.load(s.k, 1); !ok {
				return 0
			}
			pc = uint(s.jf)
			if a&s.v != 0 {
				pc = uint(s.jt)
			}
		case opLdHJset:
			if i := uint64(s.k); i+2 <= uint64(len(data)) {
				a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			} else if a, ok = p.load(s.k, 2); !ok {
				return 0
			}
			pc = uint(s.jf)
			if a&s.v != 0 {
				pc = uint(s.jt)
			}
		case opLdHJgt:
			if i := uint64(s.k); i+2 <= uint64(len(data)) {
				a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			} else if a, ok = p.load(s.k, 2); !ok {
				return 0
			}
			pc = uint(s.jf)
			if a > s.v {
				pc = uint(s.jt)
			}
		case opLdHJge:
			if i := uint64(s.k); i+2 <= uint64(len(data)) {
				a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			} else if a, ok = p.load(s.k, 2); !ok {
				return 0
			}
			pc = uint(s.jf)
			if a >= s.v {
				pc = uint(s.jt)
			}
		case opLdIndBJeq:
			off := x + s.k
			if i := uint64(off); i < uint64(len(data)) {
				a = uint32(data[i])
			} else if a, ok = p.load(off, 1); !ok {
				return 0
			}
			pc = uint(s.jf)
			if a == s.v {
				pc = uint(s.jt)
			}
		case opLdIndHJeq:
			off := x + s.k
			if i := uint64(off); i+2 <= uint64(len(data)) {
				a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			} else if a, ok = p.load(off, 2); !ok {
				return 0
			}
			pc = uint(s.jf)
			if a == s.v {
				pc = uint(s.jt)
			}
		case opLdIndHJgt:
			off := x + s.k
			if i := uint64(off); i+2 <= uint64(len(data)) {
				a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			} else if a, ok = p.load(off, 2); !ok {
				return 0
			}
			pc = uint(s.jf)
			if a > s.v {
				pc = uint(s.jt)
			}
		case opLdIndHJge:
			off := x + s.k
			if i := uint64(off); i+2 <= uint64(len(data)) {
				a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			} else if a, ok = p.load(off, 2); !ok {
				return 0
			}
			pc = uint(s.jf)
			if a >= s.v {
				pc = uint(s.jt)
			}
		}
	}
}

package cbpf

import "encoding/binary"

// Run returns how many bytes of p to keep; 0: none, drop it. It may be more
// than there are.
//
// Its loop calls nothing, so that the registers of the program stay in those of
// the machine. It reads the first piece of the packet and the simplest fields
// beside it; at the first instruction that wants anything else, or lies beyond
// the packet, interpret goes on.
func (f *Filter) Run(p *Packet) uint32 {
	var (
		steps = f.steps
		data  = p.view()
		a, x  uint32
		mem   [scratchWords]uint32
		pc    uint
	)
	// Offsets that are negative to Linux lie beyond every slice here.
fast:
	for pc < uint(len(steps)) {
		s := &steps[pc]
		pc++
		switch s.op {
		case opRare:
			pc--
			break fast
		case opRetA:
			return a

		case opLdB:
			i := uint64(s.k)
			if i >= uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(data[i])
		case opLdH:
			i := uint64(s.k)
			if i+2 > uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
		case opLdW:
			i := uint64(s.k)
			if i+4 > uint64(len(data)) {
				pc--
				break fast
			}
			a = binary.BigEndian.Uint32(data[i : i+4])
		case opLdIndB:
			i := uint64(x + s.k)
			if i >= uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(data[i])
		case opLdIndH:
			i := uint64(x + s.k)
			if i+2 > uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
		case opLdIndW:
			i := uint64(x + s.k)
			if i+4 > uint64(len(data)) {
				pc--
				break fast
			}
			a = binary.BigEndian.Uint32(data[i : i+4])
		case opLdK:
			a = s.k
		case opLdMem:
			a = mem[s.k%scratchWords]
		case opLdLen:
			a = p.Len - p.Start
		case opLdProtocol:
			a = uint32(p.Protocol)
		case opLdPktType:
			a = uint32(p.PacketType & pktTypeMask)
		case opLdVLANTag:
			a = uint32(p.VLANTCI)
		case opLdVLANTagPresent:
			a = 0
			if p.VLANPresent {
				a = 1
			}

		case opLdxMsh:
			i := uint64(s.k)
			if i >= uint64(len(data)) {
				pc--
				break fast
			}
			x = uint32(data[i]&15) * 4
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
			if a == s.v {
				pc = uint(s.jt)
			}
		case opJgtK:
			pc = uint(s.jf)
			if a > s.v {
				pc = uint(s.jt)
			}
		case opJgeK:
			pc = uint(s.jf)
			if a >= s.v {
				pc = uint(s.jt)
			}
		case opJsetK:
			pc = uint(s.jf)
			if a&s.v != 0 {
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
		case opJeq2:
			switch a {
			case s.v:
				pc = uint(s.jt)
			case s.w:
				pc = uint(s.jt2)
			default:
				pc = uint(s.jf)
			}

		case opLdBJeq:
			i := uint64(s.k)
			if i >= uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(data[i])
			pc = uint(s.jf)
			if a == s.v {
				pc = uint(s.jt)
			}
		case opLdHJeq:
			i := uint64(s.k)
			if i+2 > uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			pc = uint(s.jf)
			if a == s.v {
				pc = uint(s.jt)
			}
		case opLdWJeq:
			i := uint64(s.k)
			if i+4 > uint64(len(data)) {
				pc--
				break fast
			}
			a = binary.BigEndian.Uint32(data[i : i+4])
			pc = uint(s.jf)
			if a == s.v {
				pc = uint(s.jt)
			}
		case opLdBJset:
			i := uint64(s.k)
			if i >= uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(data[i])
			pc = uint(s.jf)
			if a&s.v != 0 {
				pc = uint(s.jt)
			}
		case opLdHJset:
			i := uint64(s.k)
			if i+2 > uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			pc = uint(s.jf)
			if a&s.v != 0 {
				pc = uint(s.jt)
			}
		case opLdHJgt:
			i := uint64(s.k)
			if i+2 > uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			pc = uint(s.jf)
			if a > s.v {
				pc = uint(s.jt)
			}
		case opLdHJge:
			i := uint64(s.k)
			if i+2 > uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			pc = uint(s.jf)
			if a >= s.v {
				pc = uint(s.jt)
			}
		case opLdIndBJeq:
			i := uint64(x + s.k)
			if i >= uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(data[i])
			pc = uint(s.jf)
			if a == s.v {
				pc = uint(s.jt)
			}
		case opLdIndHJeq:
			i := uint64(x + s.k)
			if i+2 > uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			pc = uint(s.jf)
			if a == s.v {
				pc = uint(s.jt)
			}
		case opLdIndHJgt:
			i := uint64(x + s.k)
			if i+2 > uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			pc = uint(s.jf)
			if a > s.v {
				pc = uint(s.jt)
			}
		case opLdIndHJge:
			i := uint64(x + s.k)
			if i+2 > uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			pc = uint(s.jf)
			if a >= s.v {
				pc = uint(s.jt)
			}
		case opLdBJeq2:
			i := uint64(s.k)
			if i >= uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(data[i])
			switch a {
			case s.v:
				pc = uint(s.jt)
			case s.w:
				pc = uint(s.jt2)
			default:
				pc = uint(s.jf)
			}
		case opLdHJeq2:
			i := uint64(s.k)
			if i+2 > uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			switch a {
			case s.v:
				pc = uint(s.jt)
			case s.w:
				pc = uint(s.jt2)
			default:
				pc = uint(s.jf)
			}
		case opLdIndHJeq2:
			i := uint64(x + s.k)
			if i+2 > uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			switch a {
			case s.v:
				pc = uint(s.jt)
			case s.w:
				pc = uint(s.jt2)
			default:
				pc = uint(s.jf)
			}
		case opLdWAndJeq:
			i := uint64(s.k)
			if i+4 > uint64(len(data)) {
				pc--
				break fast
			}
			a = binary.BigEndian.Uint32(data[i : i+4])
			a &= s.w
			pc = uint(s.jf)
			if a == s.v {
				pc = uint(s.jt)
			}
		case opMshLdIndHJeq:
			h := uint64(s.k)
			if h >= uint64(len(data)) {
				pc--
				break fast
			}
			x = uint32(data[h]&15) * 4
			i := uint64(x + s.w)
			if i+2 > uint64(len(data)) {
				pc--
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			pc = uint(s.jf)
			if a == s.v {
				pc = uint(s.jt)
			}
		}
	}
	if pc < uint(len(steps)) {
		return interpret(f.prog, p, pc, a, x, mem)
	}
	return f.verdicts[pc-uint(len(steps))]
}

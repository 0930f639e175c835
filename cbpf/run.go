package cbpf

import "encoding/binary"

// Run returns how many bytes of p to keep, which may be more than p has; 0 means to drop
// it.
//
// Its loop calls no function, so that the program's registers stay in the machine's. It
// reads the first piece of the packet and the simplest fields beside it. At the first
// instruction that needs anything else, or reads beyond the first piece, interpret
// continues.
func (f *Filter) Run(p *Packet) uint32 {
	var (
		s    = f.first
		data = p.view()
		a, x uint32
		mem  [scratchWords]uint32
	)
	// Offsets that are negative in Linux are beyond the end of every slice here.
fast:
	for {
		switch s.op {
		case opRare:
			break fast
		case opRetK:
			return s.k
		case opRetA:
			return a

		case opLdB:
			i := int(s.k)
			if i < 0 || i > len(data)-1 {
				break fast
			}
			a = uint32(data[i])
		case opLdH:
			i := int(s.k)
			if i < 0 || i > len(data)-2 {
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
		case opLdW:
			i := int(s.k)
			if i < 0 || i > len(data)-4 {
				break fast
			}
			a = binary.BigEndian.Uint32(data[i : i+4])
		case opLdIndB:
			i := int(x + s.k)
			if i < 0 || i > len(data)-1 {
				break fast
			}
			a = uint32(data[i])
		case opLdIndH:
			i := int(x + s.k)
			if i < 0 || i > len(data)-2 {
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
		case opLdIndW:
			i := int(x + s.k)
			if i < 0 || i > len(data)-4 {
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
			i := int(s.k)
			if i < 0 || i >= len(data) {
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

		case opJeqK:
			if a == s.v {
				s = s.t
				continue
			}
		case opJgtK:
			if a > s.v {
				s = s.t
				continue
			}
		case opJgeK:
			if a >= s.v {
				s = s.t
				continue
			}
		case opJsetK:
			if a&s.v != 0 {
				s = s.t
				continue
			}
		case opJeqX:
			if a == x {
				s = s.t
				continue
			}
		case opJgtX:
			if a > x {
				s = s.t
				continue
			}
		case opJgeX:
			if a >= x {
				s = s.t
				continue
			}
		case opJsetX:
			if a&x != 0 {
				s = s.t
				continue
			}
		case opJeq2:
			switch a {
			case s.v:
				s = s.t
				continue
			case s.w:
				s = s.t2
				continue
			}

		case opLdBJeq:
			i := int(s.k)
			if i < 0 || i > len(data)-1 {
				break fast
			}
			a = uint32(data[i])
			if a == s.v {
				s = s.t
				continue
			}
		case opLdHJeq:
			i := int(s.k)
			if i < 0 || i > len(data)-2 {
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			if a == s.v {
				s = s.t
				continue
			}
		case opLdWJeq:
			i := int(s.k)
			if i < 0 || i > len(data)-4 {
				break fast
			}
			a = binary.BigEndian.Uint32(data[i : i+4])
			if a == s.v {
				s = s.t
				continue
			}
		case opLdBJset:
			i := int(s.k)
			if i < 0 || i > len(data)-1 {
				break fast
			}
			a = uint32(data[i])
			if a&s.v != 0 {
				s = s.t
				continue
			}
		case opLdHJset:
			i := int(s.k)
			if i < 0 || i > len(data)-2 {
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			if a&s.v != 0 {
				s = s.t
				continue
			}
		case opLdHJgt:
			i := int(s.k)
			if i < 0 || i > len(data)-2 {
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			if a > s.v {
				s = s.t
				continue
			}
		case opLdHJge:
			i := int(s.k)
			if i < 0 || i > len(data)-2 {
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			if a >= s.v {
				s = s.t
				continue
			}
		case opLdIndBJeq:
			i := int(x + s.k)
			if i < 0 || i > len(data)-1 {
				break fast
			}
			a = uint32(data[i])
			if a == s.v {
				s = s.t
				continue
			}
		case opLdIndHJeq:
			i := int(x + s.k)
			if i < 0 || i > len(data)-2 {
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			if a == s.v {
				s = s.t
				continue
			}
		case opLdIndHJgt:
			i := int(x + s.k)
			if i < 0 || i > len(data)-2 {
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			if a > s.v {
				s = s.t
				continue
			}
		case opLdIndHJge:
			i := int(x + s.k)
			if i < 0 || i > len(data)-2 {
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			if a >= s.v {
				s = s.t
				continue
			}
		case opLdBJeq2:
			i := int(s.k)
			if i < 0 || i > len(data)-1 {
				break fast
			}
			a = uint32(data[i])
			switch a {
			case s.v:
				s = s.t
				continue
			case s.w:
				s = s.t2
				continue
			}
		case opLdHJeq2:
			i := int(s.k)
			if i < 0 || i > len(data)-2 {
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			switch a {
			case s.v:
				s = s.t
				continue
			case s.w:
				s = s.t2
				continue
			}
		case opLdIndHJeq2:
			i := int(x + s.k)
			if i < 0 || i > len(data)-2 {
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			switch a {
			case s.v:
				s = s.t
				continue
			case s.w:
				s = s.t2
				continue
			}
		case opLdWAndJeq:
			i := int(s.k)
			if i < 0 || i > len(data)-4 {
				break fast
			}
			a = binary.BigEndian.Uint32(data[i : i+4])
			a &= s.w
			if a == s.v {
				s = s.t
				continue
			}
		case opMshLdIndHJeq:
			h := int(s.k)
			if h < 0 || h >= len(data) {
				break fast
			}
			x = uint32(data[h]&15) * 4
			i := int(x + s.w)
			if i < 0 || i > len(data)-2 {
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			if a == s.v {
				s = s.t
				continue
			}
		case opLdHJeqPair:
			i := int(s.k)
			if i < 0 || i > len(data)-4 {
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			if a == s.v {
				s = s.t
				continue
			}
			a = uint32(binary.BigEndian.Uint16(data[i+2 : i+4]))
			if a == s.v {
				s = s.t
				continue
			}
		case opMshLdIndHJeqPair:
			h := int(s.k)
			if h < 0 || h >= len(data) {
				break fast
			}
			x = uint32(data[h]&15) * 4
			i := int(x + s.w)
			if i < 0 || i > len(data)-4 {
				break fast
			}
			a = uint32(binary.BigEndian.Uint16(data[i : i+2]))
			if a == s.v {
				s = s.t
				continue
			}
			a = uint32(binary.BigEndian.Uint16(data[i+2 : i+4]))
			if a == s.v {
				s = s.t
				continue
			}
		}
		s = s.f
	}
	return interpret(f.prog, f.attrs, p, uint(s.at), a, x, mem)
}

package cbpf

import (
	"encoding/binary"
	"math/rand/v2"
)

// chooser draws a number from 0 to n-1: from a random source, or from a fuzzer's
// bytes.
type chooser func(n int) int

func random(seed uint64) chooser {
	return rand.New(rand.NewPCG(seed, 0)).IntN
}

func fromBytes(b []byte) chooser {
	return func(n int) int {
		if len(b) == 0 {
			return 0
		}
		v := int(b[0])
		b = b[1:]
		if n > 256 && len(b) > 0 {
			v = v<<8 | int(b[0])
			b = b[1:]
		}
		return v % n
	}
}

// constant draws an operand, the awkward ones often.
func (c chooser) constant() uint32 {
	awkward := []uint32{0, 1, 2, 4, 15, 31, 0xff, 0xffff, 0x8000_0000, 0x7fff_ffff, 0xffff_ffff}
	if c(2) == 0 {
		return awkward[c(len(awkward))]
	}
	return uint32(c(1<<16))<<16 | uint32(c(1<<16))
}

// offset draws a place in or just beyond a packet of some 200 bytes.
func (c chooser) offset() uint32 {
	if c(4) == 0 {
		return uint32(c(260))
	}
	return uint32(c(64))
}

// safely limits a program to what golang.org/x/net/bpf agrees with Linux on: it
// shifts all bits out from 32 on, where Linux counts the low five bits; it does
// not wrap an indirect offset around; it has no neg and no ldx len.
type safely bool

// validProgram draws a program that Compile accepts. It starts with a few stores,
// so that it can load from scratch memory.
func (c chooser) validProgram(xnet safely, ancillary []uint32) (prog []Instruction) {
	alu := []uint16{aluADD, aluSUB, aluMUL, aluDIV, aluOR, aluAND, aluLSH, aluRSH, aluMOD, aluXOR}
	jumps := []uint16{jmpJEQ, jmpJGT, jmpJGE, jmpJSET}
	sizes := []uint16{sizeB, sizeH, sizeW}
	emit := func(op uint16, k uint32) { prog = append(prog, Instruction{Op: op, K: k}) }
	// glued[i]: instruction i needs the one before it, so no jump leads to it
	glued := map[int]bool{}

	stored := c(3)
	for i := range stored {
		emit(classLD|modeIMM, c.constant())
		emit(classST, uint32(i))
	}
	for range c(30) {
		switch c(16) {
		case 0, 1, 2:
			emit(classLD|modeABS|sizes[c(3)], c.offset())
		case 3:
			if xnet {
				emit(classLDX|modeIMM, c.offset())
				glued[len(prog)] = true
			}
			emit(classLD|modeIND|sizes[c(3)], c.offset())
		case 4:
			emit(classLDX|modeMSH|sizeB, c.offset())
		case 5:
			emit([]uint16{classLD, classLDX}[c(2)]|modeIMM, c.constant())
		case 6:
			if xnet || c(2) == 0 {
				emit(classLD|modeLEN, 0)
			} else {
				emit(classLDX|modeLEN, 0)
			}
		case 7:
			if stored > 0 {
				emit([]uint16{classLD, classLDX}[c(2)]|modeMEM, uint32(c(stored)))
			}
		case 8:
			emit([]uint16{classST, classSTX}[c(2)], uint32(c(scratchWords)))
		case 9:
			emit(classMISC|[]uint16{miscTAX, miscTXA}[c(2)], 0)
		case 10:
			op, k := alu[c(len(alu))], c.constant()
			switch op {
			case aluDIV, aluMOD:
				k |= 1
			case aluLSH, aluRSH:
				k %= 32
			}
			emit(classALU|op|srcK, k)
		case 11:
			op := alu[c(len(alu))]
			if xnet && (op == aluLSH || op == aluRSH) {
				emit(classLDX|modeIMM, uint32(c(32)))
				glued[len(prog)] = true
			}
			emit(classALU|op|srcX, 0)
		case 12:
			if !xnet {
				emit(classALU|aluNEG, 0)
			}
		case 13, 14: // the distances are filled in below
			k := c.constant()
			if c(3) == 0 {
				k = uint32(c(256))
			}
			emit(classJMP|jumps[c(len(jumps))]|[]uint16{srcK, srcX}[c(2)], k)
		case 15:
			if len(ancillary) > 0 {
				emit(classLD|modeABS|sizes[c(3)], AdOff+ancillary[c(len(ancillary))])
			} else {
				emit(classJMP|jmpJA, 0)
			}
		}
		if c(12) == 0 {
			emit(classRET|srcK, uint32(c(100)))
		}
	}
	if c(2) == 0 {
		emit(classRET|retA, 0)
	} else {
		emit(classRET|srcK, uint32(c(300)))
	}
	for i := range prog {
		distance := func() uint8 {
			d := c(min(len(prog)-i-1, 6))
			for glued[i+1+d] {
				d--
			}
			return uint8(d)
		}
		switch in := &prog[i]; {
		case in.Op == classJMP|jmpJA:
			in.K = uint32(distance())
		case in.Op&0x07 == classJMP:
			in.Jt, in.Jf = distance(), distance()
		}
	}
	return prog
}

// broken changes a program so that it may no longer be valid.
func (c chooser) broken(prog []Instruction) []Instruction {
	prog = append([]Instruction(nil), prog...)
	for range 1 + c(2) {
		in := &prog[c(len(prog))]
		switch c(6) {
		case 0:
			in.Op = uint16(c(256))
		case 1:
			in.Op = uint16(c(1 << 16))
		case 2:
			in.K = c.constant()
		case 3:
			in.Jt, in.Jf = uint8(c(256)), uint8(c(256))
		case 4:
			*in = Instruction{Op: []uint16{classLD, classLDX}[c(2)] | modeMEM, K: uint32(c(20))}
		case 5:
			*in = Instruction{Op: classLD | modeABS | sizeW, K: AdOff + uint32(c(80))}
		}
	}
	if c(8) == 0 {
		prog = prog[:c(len(prog)+1)]
	}
	return prog
}

// packet draws a packet of up to 200 bytes.
func (c chooser) packet() []byte {
	b := make([]byte, c(200))
	for i := range b {
		b[i] = byte(c(256))
	}
	if len(b) > 40 && c(2) == 0 { // small numbers, for list structures
		for i := 0; i+4 <= len(b); i += 4 {
			binary.NativeEndian.PutUint16(b[i:], uint16(c(24)))
			binary.NativeEndian.PutUint16(b[i+2:], uint16(c(4)))
		}
	}
	return b
}

// scatter cuts p's bytes into pieces, some empty. The first keeps at least head
// bytes.
func (c chooser) scatter(p *Packet, head int) *Packet {
	q := *p
	data := p.Data
	cut := min(len(data), head+c(len(data)+1))
	q.Data, data = append([]byte(nil), data[:cut]...), data[cut:]
	for len(data) > 0 {
		cut := c(min(len(data), 20) + 1)
		q.Rest = append(q.Rest, append([]byte(nil), data[:cut]...))
		data = data[cut:]
		if len(q.Rest) > 100 {
			q.Rest = append(q.Rest, data)
			break
		}
	}
	return &q
}

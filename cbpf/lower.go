package cbpf

// step is one instruction of the private form. Jump targets are absolute.
type step struct {
	op     op
	size   uint8  // of a load out of line
	jt, jf uint16 // where to go on
	k      uint32 // offset, index or operand
	v      uint32 // what a fused load's value is compared with
}

type op uint8

// The private operations. A name that ends in K takes step.k, one that ends in
// X register X.
const (
	opRetK op = iota
	opRetA

	// Loads into A. The plain ones may find all bytes in the first piece.
	opLdB
	opLdH
	opLdW
	opLdIndB
	opLdIndH
	opLdIndW
	opLdFar // negative offsets
	opLdAncillary
	opLdK
	opLdMem
	opLdLen

	opLdxMsh
	opLdxK
	opLdxMem
	opLdxLen
	opSt
	opStx
	opTax
	opTxa

	opAddK
	opSubK
	opMulK
	opDivK
	opModK
	opAndK
	opOrK
	opXorK
	opLshK
	opRshK
	opAddX
	opSubX
	opMulX
	opDivX
	opModX
	opAndX
	opOrX
	opXorX
	opLshX
	opRshX
	opNeg

	opJa
	opJeqK
	opJgtK
	opJgeK
	opJsetK
	opJeqX
	opJgtX
	opJgeX
	opJsetX

	// A load and the jump after it, on step.v. A is loaded all the same: a
	// later instruction may look at it again.
	opLdBJeq
	opLdHJeq
	opLdWJeq
	opLdBJset
	opLdHJset
	opLdHJgt
	opLdHJge
	opLdIndBJeq
	opLdIndHJeq
	opLdIndHJgt
	opLdIndHJge
)

var plainOps = map[uint16]op{
	classRET | srcK: opRetK,
	classRET | retA: opRetA,

	classLD | sizeB | modeABS: opLdB,
	classLD | sizeH | modeABS: opLdH,
	classLD | sizeW | modeABS: opLdW,
	classLD | sizeB | modeIND: opLdIndB,
	classLD | sizeH | modeIND: opLdIndH,
	classLD | sizeW | modeIND: opLdIndW,
	classLD | modeIMM:         opLdK,
	classLD | modeMEM:         opLdMem,
	classLD | modeLEN:         opLdLen,

	classLDX | sizeB | modeMSH: opLdxMsh,
	classLDX | modeIMM:         opLdxK,
	classLDX | modeMEM:         opLdxMem,
	classLDX | modeLEN:         opLdxLen,
	classST:                    opSt,
	classSTX:                   opStx,
	classMISC | miscTAX:        opTax,
	classMISC | miscTXA:        opTxa,

	classALU | aluADD | srcK: opAddK,
	classALU | aluSUB | srcK: opSubK,
	classALU | aluMUL | srcK: opMulK,
	classALU | aluDIV | srcK: opDivK,
	classALU | aluMOD | srcK: opModK,
	classALU | aluAND | srcK: opAndK,
	classALU | aluOR | srcK:  opOrK,
	classALU | aluXOR | srcK: opXorK,
	classALU | aluLSH | srcK: opLshK,
	classALU | aluRSH | srcK: opRshK,
	classALU | aluADD | srcX: opAddX,
	classALU | aluSUB | srcX: opSubX,
	classALU | aluMUL | srcX: opMulX,
	classALU | aluDIV | srcX: opDivX,
	classALU | aluMOD | srcX: opModX,
	classALU | aluAND | srcX: opAndX,
	classALU | aluOR | srcX:  opOrX,
	classALU | aluXOR | srcX: opXorX,
	classALU | aluLSH | srcX: opLshX,
	classALU | aluRSH | srcX: opRshX,
	classALU | aluNEG:        opNeg,

	classJMP | jmpJA:          opJa,
	classJMP | jmpJEQ | srcK:  opJeqK,
	classJMP | jmpJGT | srcK:  opJgtK,
	classJMP | jmpJGE | srcK:  opJgeK,
	classJMP | jmpJSET | srcK: opJsetK,
	classJMP | jmpJEQ | srcX:  opJeqX,
	classJMP | jmpJGT | srcX:  opJgtX,
	classJMP | jmpJGE | srcX:  opJgeX,
	classJMP | jmpJSET | srcX: opJsetX,
}

// fusedOps are the pairs that libpcap's programs are made of.
var fusedOps = map[[2]op]op{
	{opLdB, opJeqK}:    opLdBJeq,
	{opLdH, opJeqK}:    opLdHJeq,
	{opLdW, opJeqK}:    opLdWJeq,
	{opLdB, opJsetK}:   opLdBJset,
	{opLdH, opJsetK}:   opLdHJset,
	{opLdH, opJgtK}:    opLdHJgt,
	{opLdH, opJgeK}:    opLdHJge,
	{opLdIndB, opJeqK}: opLdIndBJeq,
	{opLdIndH, opJeqK}: opLdIndHJeq,
	{opLdIndH, opJgtK}: opLdIndHJgt,
	{opLdIndH, opJgeK}: opLdIndHJge,
}

// lower turns a checked program into the private form. Step i does what
// instruction i does, or instructions i and i+1 together; i+1 keeps its own
// step, for the jumps that lead to it.
func lower(prog []Instruction) []step {
	steps := make([]step, len(prog))
	for i, in := range prog {
		s := step{op: plainOps[in.Op], k: in.K}
		ad, ancillary := in.ancillary()
		switch {
		case ancillary && ad == adAluXorX:
			s.op = opXorX
		case ancillary:
			s.op, s.k = opLdAncillary, ad
		case in.Op&(0x07|0xe0) == classLD|modeABS && in.K >= 1<<31:
			s.op = opLdFar
			s.size = map[uint16]uint8{sizeB: 1, sizeH: 2, sizeW: 4}[in.Op&0x18]
		case in.Op == classJMP|jmpJA:
			s.jt = uint16(i + 1 + int(in.K))
		case in.Op&0x07 == classJMP:
			s.jt, s.jf = uint16(i+1+int(in.Jt)), uint16(i+1+int(in.Jf))
		}
		steps[i] = s
	}
	// A jump to a ja goes on from there. Last first, so that chains fold.
	for i := len(steps) - 1; i >= 0; i-- {
		s := &steps[i]
		if t := steps[s.jt]; t.op == opJa {
			s.jt = t.jt
		}
		if t := steps[s.jf]; t.op == opJa {
			s.jf = t.jt
		}
	}
	for i := range steps[:len(steps)-1] {
		next := steps[i+1]
		if fused, ok := fusedOps[[2]op{steps[i].op, next.op}]; ok {
			steps[i] = step{op: fused, jt: next.jt, jf: next.jf, k: steps[i].k, v: next.k}
		}
	}
	return steps
}

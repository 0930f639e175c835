package cbpf

// step is one instruction of the private form. A Filter's
// steps are a graph without loops whose ends return.
type step struct {
	op op
	at uint16 // index of the first instruction that it implements
	k  uint32 // offset, index or operand
	v  uint32 // what a jump compares with
	w  uint32 // second operand of a fused step

	// The next step: f after most steps, t if a jump's condition is true, t2 if its
	// second one is.
	f, t, t2 *step
}

type op uint8

// The private operations. A name that ends in K uses step.k, one that ends in X register
// X.
const (
	opRare op = iota // executed by interpret
	opRetK
	opRetA

	// Loads into A
	opLdB
	opLdH
	opLdW
	opLdIndB
	opLdIndH
	opLdIndW
	opLdK
	opLdMem
	opLdLen
	opLdProtocol
	opLdPktType
	opLdVLANTag
	opLdVLANTagPresent

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

	opJeqK
	opJgtK
	opJgeK
	opJsetK
	opJeqX
	opJgtX
	opJgeX
	opJsetX

	// Several instructions in one step. They store in A and X what the instructions
	// would: later ones may read it.
	opJeq2
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
	opLdBJeq2
	opLdHJeq2
	opLdIndHJeq2
	opLdWAndJeq
	opMshLdIndHJeq // a port behind an IPv4 header
	opLdHJeqPair   // two half words in a row: either port
	opMshLdIndHJeqPair
	opMost
)

// plainOps are the operations of one step by Instruction.Op, opRare for others.
var plainOps = [1 << 8]op{
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

	classJMP | jmpJEQ | srcK:  opJeqK,
	classJMP | jmpJGT | srcK:  opJgtK,
	classJMP | jmpJGE | srcK:  opJgeK,
	classJMP | jmpJSET | srcK: opJsetK,
	classJMP | jmpJEQ | srcX:  opJeqX,
	classJMP | jmpJGT | srcX:  opJgtX,
	classJMP | jmpJGE | srcX:  opJgeX,
	classJMP | jmpJSET | srcX: opJsetX,
}

// ancillaryOps are the ancillary data that libpcap's programs load often.
var ancillaryOps = map[uint32]op{
	AdProtocol: opLdProtocol, AdPktType: opLdPktType,
	adVLANTag: opLdVLANTag, adVLANTagPresent: opLdVLANTagPresent,
	adAluXorX: opXorX,
}

// loadJump pairs a load and the jump after it, as libpcap's programs do.
var loadJump = [opMost][opMost]op{
	opLdB:    {opJeqK: opLdBJeq, opJsetK: opLdBJset},
	opLdH:    {opJeqK: opLdHJeq, opJsetK: opLdHJset, opJgtK: opLdHJgt, opJgeK: opLdHJge},
	opLdW:    {opJeqK: opLdWJeq},
	opLdIndB: {opJeqK: opLdIndBJeq},
	opLdIndH: {opJeqK: opLdIndHJeq, opJgtK: opLdIndHJgt, opJgeK: opLdIndHJge},
}

// secondJeq tests A once more if a first jeq fails.
var secondJeq = [opMost]op{
	opJeqK: opJeq2, opLdBJeq: opLdBJeq2, opLdHJeq: opLdHJeq2, opLdIndHJeq: opLdIndHJeq2,
}

// lower returns the first step of a checked program. Each instruction has a step, which
// may also implement instructions after it; those still have steps of their own, for
// jumps to them.
func lower(prog []Instruction) *step {
	steps := make([]step, len(prog))
	to := make([]*step, len(prog)) // the step of each instruction
	// In reverse order: a step's successors exist when it is made.
	for i := len(steps) - 1; i >= 0; i-- {
		in := prog[i]
		if in.Op == classJMP|jmpJA {
			to[i] = to[i+1+int(in.K)]
			continue
		}
		s := step{op: plainOps[in.Op&0xff], at: uint16(i), k: in.K, v: in.K}
		if ad, ancillary := in.Ancillary(); ancillary {
			s.op = ancillaryOps[ad]
		}
		switch in.Op & 0x07 {
		case classRET:
		case classJMP:
			s.t, s.f = to[i+1+int(in.Jt)], to[i+1+int(in.Jf)]
		default:
			s.f = to[i+1]
		}
		steps[i] = s.fuse()
		to[i] = &steps[i]
	}
	return to[0]
}

// fuse returns one step for s and those after it, if there is one.
func (s step) fuse() step {
	next := s.f
	if next == nil {
		return s
	}
	if op := loadJump[s.op][next.op]; op != opRare {
		s.op, s.v, s.t, s.f = op, next.v, next.t, next.f
	}
	switch {
	case s.op == opLdW && next.op == opAndK && next.f.op == opJeqK:
		jump := next.f
		s.op, s.w, s.v, s.t, s.f = opLdWAndJeq, next.k, jump.v, jump.t, jump.f
	case s.op == opLdxMsh && next.op == opLdIndHJeq:
		s.op, s.w, s.v, s.t, s.f = opMshLdIndHJeq, next.k, next.v, next.t, next.f
	}
	if second := s.f; second != nil && second.v == s.v && second.t == s.t {
		switch {
		case s.op == opLdHJeq && second.op == opLdHJeq && second.k == s.k+2 && s.k < 1<<16:
			s.op, s.f = opLdHJeqPair, second.f
		case s.op == opMshLdIndHJeq && second.op == opLdIndHJeq && second.k == s.w+2 && s.w < 1<<16:
			s.op, s.f = opMshLdIndHJeqPair, second.f
		}
	}
	if op := secondJeq[s.op]; op != opRare && s.f.op == opJeqK {
		s.op, s.w, s.t2, s.f = op, s.f.v, s.f.t, s.f.f
	}
	return s
}

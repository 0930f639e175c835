package cbpf

import "slices"

// step is one instruction of the private form. Jump targets are absolute.
type step struct {
	op          op
	jt, jf, jt2 uint16 // where to go on: if true, else; if equal to w
	k           uint32 // offset, index or operand
	v           uint32 // what a jump compares with
	w           uint32 // second operand of a fused step
}

type op uint8

// The private operations. A name that ends in K takes step.k, one that ends in
// X register X.
const (
	opRare op = iota // left to interpret
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

	opJa
	opJeqK
	opJgtK
	opJgeK
	opJsetK
	opJeqX
	opJgtX
	opJgeX
	opJsetX

	// Several instructions in one step. They leave in A and X what the
	// instructions would: others may look at it again.
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
	opMshLdIndHJeq // the port of a TCP segment on IPv4
)

var plainOps = map[uint16]op{
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

// ancillaryOps are the fields beside the packet that libpcap asks for often.
var ancillaryOps = map[uint32]op{
	adProtocol: opLdProtocol, adPktType: opLdPktType,
	adVLANTag: opLdVLANTag, adVLANTagPresent: opLdVLANTagPresent,
	adAluXorX: opXorX,
}

// loadJump pairs a load and the jump after it, as libpcap's programs do.
var loadJump = map[[2]op]op{
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

// secondJeq tests A once more if a first jeq fails.
var secondJeq = map[op]op{
	opJeqK: opJeq2, opLdBJeq: opLdBJeq2, opLdHJeq: opLdHJeq2, opLdIndHJeq: opLdIndHJeq2,
}

// lower fills in f.steps and f.verdicts. Step i does what instruction i does,
// and maybe those after it; they keep their own steps, for jumps that lead to
// them.
func (f *Filter) lower() {
	f.steps = make([]step, len(f.prog))
	steps := f.steps
	// Last first: whatever a step goes on to is there already.
	for i := len(steps) - 1; i >= 0; i-- {
		in := f.prog[i]
		s := step{op: plainOps[in.Op], k: in.K, v: in.K}
		ad, ancillary := in.ancillary()
		switch {
		case ancillary:
			s.op = ancillaryOps[ad]
		case in.Op == classRET|srcK:
			s.op, s.jt = opJa, f.verdict(in.K)
		case in.Op == classJMP|jmpJA:
			s.jt = f.target(i + 1 + int(in.K))
		case in.Op&0x07 == classJMP:
			s.jt, s.jf = f.target(i+1+int(in.Jt)), f.target(i+1+int(in.Jf))
		}
		if i+1 < len(steps) {
			s = fuse(s, steps[i+1:])
		}
		if second, ok := secondJeq[s.op]; ok && int(s.jf) < len(steps) && steps[s.jf].op == opJeqK {
			next := steps[s.jf]
			s.op, s.jf, s.jt2, s.w = second, next.jf, next.jt, next.v
		}
		steps[i] = s
	}
}

// target is where a jump to instruction i ends up.
func (f *Filter) target(i int) uint16 {
	if s := f.steps[i]; s.op == opJa {
		return s.jt
	}
	return uint16(i)
}

// verdict returns the jump target that returns k.
func (f *Filter) verdict(k uint32) uint16 {
	i := slices.Index(f.verdicts, k)
	if i < 0 {
		i = len(f.verdicts)
		f.verdicts = append(f.verdicts, k)
	}
	return uint16(len(f.steps) + i)
}

// fuse makes one step of s and those after it, if it can.
func fuse(s step, after []step) step {
	next := after[0]
	if fused, ok := loadJump[[2]op{s.op, next.op}]; ok {
		return step{op: fused, jt: next.jt, jf: next.jf, k: s.k, v: next.v}
	}
	switch {
	case s.op == opLdW && next.op == opAndK && len(after) > 1 && after[1].op == opJeqK:
		jump := after[1]
		return step{op: opLdWAndJeq, jt: jump.jt, jf: jump.jf, k: s.k, v: jump.v, w: next.k}
	case s.op == opLdxMsh && next.op == opLdIndHJeq:
		return step{op: opMshLdIndHJeq, jt: next.jt, jf: next.jf, k: s.k, v: next.v, w: next.k}
	}
	return s
}

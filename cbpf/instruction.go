package cbpf

import "fmt"

// Instruction mirrors struct sock_filter (linux/filter.h).
type Instruction struct {
	Op     uint16
	Jt, Jf uint8
	K      uint32
}

// Fields of Instruction.Op (linux/bpf_common.h).
const (
	classLD   = 0x00
	classLDX  = 0x01
	classST   = 0x02
	classSTX  = 0x03
	classALU  = 0x04
	classJMP  = 0x05
	classRET  = 0x06
	classMISC = 0x07

	sizeW = 0x00
	sizeH = 0x08
	sizeB = 0x10

	modeIMM = 0x00
	modeABS = 0x20
	modeIND = 0x40
	modeMEM = 0x60
	modeLEN = 0x80
	modeMSH = 0xa0

	aluADD = 0x00
	aluSUB = 0x10
	aluMUL = 0x20
	aluDIV = 0x30
	aluOR  = 0x40
	aluAND = 0x50
	aluLSH = 0x60
	aluRSH = 0x70
	aluNEG = 0x80
	aluMOD = 0x90
	aluXOR = 0xa0

	jmpJA   = 0x00
	jmpJEQ  = 0x10
	jmpJGT  = 0x20
	jmpJGE  = 0x30
	jmpJSET = 0x40

	srcK = 0x00
	srcX = 0x08
	retA = 0x10

	miscTAX = 0x00
	miscTXA = 0x80
)

// Operations that programs written by hand use.
const (
	OpLdImm  = classLD | modeIMM         // A = K
	OpLdAbsW = classLD | sizeW | modeABS // A = the 32-bit word at K
	OpLdAbsH = classLD | sizeH | modeABS // A = the 16-bit word at K
	OpJA     = classJMP | jmpJA          // jump by K
	OpJEQ    = classJMP | jmpJEQ | srcK  // jump by Jt if A == K, by Jf if not
	OpRetK   = classRET | srcK           // return K
	OpRetA   = classRET | retA           // return A
)

const (
	maxInstructions = 4096 // BPF_MAXINSNS
	scratchWords    = 16   // BPF_MEMWORDS
)

// Bases of the special packet offsets (linux/filter.h), which are negative in Linux and
// large here.
const (
	LLOff  = 0xffe00000 // SKF_LL_OFF, -0x200000: from the link-layer header
	NetOff = 0xfff00000 // SKF_NET_OFF, -0x100000: from the network header
	AdOff  = 0xfffff000 // SKF_AD_OFF, -0x1000: ancillary data, not bytes
)

// Ancillary data, by its distance from AdOff (linux/filter.h).
const (
	AdProtocol       = 0
	AdPktType        = 4
	AdIfindex        = 8
	adNlattr         = 12
	adNlattrNest     = 16
	adMark           = 20
	adQueue          = 24
	AdHatype         = 28
	adRxHash         = 32
	adCPU            = 36
	adAluXorX        = 40
	adVLANTag        = 44
	adVLANTagPresent = 48
	adPayOffset      = 52
	adRandom         = 56
	adVLANTPID       = 60
)

var ancillaryNames = map[uint32]string{
	AdProtocol: "protocol", AdPktType: "pkttype", AdIfindex: "ifindex",
	adNlattr: "nlattr", adNlattrNest: "nlattr_nest", adMark: "mark",
	adQueue: "queue", AdHatype: "hatype", adRxHash: "rxhash", adCPU: "cpu",
	adAluXorX: "xor_x", adVLANTag: "vlan_tci", adVLANTagPresent: "vlan_present",
	adPayOffset: "payload_offset", adRandom: "random", adVLANTPID: "vlan_tpid",
}

var aluNames = map[uint16]string{
	aluADD: "add", aluSUB: "sub", aluMUL: "mul", aluDIV: "div", aluOR: "or",
	aluAND: "and", aluLSH: "lsh", aluRSH: "rsh", aluMOD: "mod", aluXOR: "xor",
}

var jumpNames = map[uint16]string{
	jmpJEQ: "jeq", jmpJGT: "jgt", jmpJGE: "jge", jmpJSET: "jset",
}

// known reports whether Linux has this operation. Bits that an operation does
// not use must be 0.
func (in Instruction) known() bool {
	switch in.Op {
	case classLD | modeIMM, classLD | modeMEM, classLD | modeLEN,
		classLD | sizeW | modeABS, classLD | sizeH | modeABS, classLD | sizeB | modeABS,
		classLD | sizeW | modeIND, classLD | sizeH | modeIND, classLD | sizeB | modeIND,
		classLDX | modeIMM, classLDX | modeMEM, classLDX | modeLEN, classLDX | sizeB | modeMSH,
		classST, classSTX,
		classALU | aluNEG,
		classJMP | jmpJA,
		classRET | srcK, classRET | retA,
		classMISC | miscTAX, classMISC | miscTXA:
		return true
	}
	var named bool
	switch in.Op & 0x07 {
	case classALU:
		_, named = aluNames[in.Op&^(0x07|srcX)]
	case classJMP:
		_, named = jumpNames[in.Op&^(0x07|srcX)]
	}
	return named
}

// Ancillary returns which ancillary datum the instruction loads. In Linux only absolute
// loads, of any size, read ancillary data.
func (in Instruction) Ancillary() (ad uint32, ok bool) {
	if in.Op&0x07 != classLD || in.Op&0xe0 != modeABS || in.K < AdOff {
		return 0, false
	}
	ad = in.K - AdOff
	return ad, ad%4 == 0 && ad <= adVLANTPID
}

// LoadsPacket reports whether K is an offset in the packet.
func (in Instruction) LoadsPacket() bool {
	class, mode := in.Op&0x07, in.Op&0xe0
	return (class == classLD || class == classLDX) && (mode == modeABS || mode == modeIND || mode == modeMSH)
}

// size returns how many bytes a load from the packet reads.
func (in Instruction) size() uint8 {
	switch in.Op & 0x18 {
	case sizeB:
		return 1
	case sizeH:
		return 2
	}
	return 4
}

// String formats the instruction as tcpdump -d and bpf_asm do, with distances for the
// targets of jumps.
func (in Instruction) String() string {
	if !in.known() {
		return fmt.Sprintf("unknown operation %#04x", in.Op)
	}
	size := map[uint16]string{sizeW: "", sizeH: "h", sizeB: "b"}[in.Op&0x18]
	operand := fmt.Sprintf("#%#x", in.K)
	if in.Op&srcX != 0 {
		operand = "x"
	}
	switch class := in.Op & 0x07; class {
	case classLD, classLDX:
		name := "ld" + size
		if class == classLDX {
			name = "ldx" + size
		}
		switch in.Op & 0xe0 {
		case modeIMM:
			return fmt.Sprintf("%s #%#x", name, in.K)
		case modeMEM:
			return fmt.Sprintf("%s M[%d]", name, in.K)
		case modeLEN:
			return name + " #pktlen"
		case modeMSH:
			return fmt.Sprintf("%s 4*([%d]&0xf)", name, int32(in.K))
		case modeIND:
			return fmt.Sprintf("%s [x + %d]", name, int32(in.K))
		}
		if ad, ok := in.Ancillary(); ok {
			return fmt.Sprintf("%s #%s", name, ancillaryNames[ad])
		}
		return fmt.Sprintf("%s [%d]", name, int32(in.K))
	case classST:
		return fmt.Sprintf("st M[%d]", in.K)
	case classSTX:
		return fmt.Sprintf("stx M[%d]", in.K)
	case classALU:
		if in.Op == classALU|aluNEG {
			return "neg"
		}
		return aluNames[in.Op&0xf0] + " " + operand
	case classJMP:
		if in.Op == classJMP|jmpJA {
			return fmt.Sprintf("ja +%d", in.K)
		}
		return fmt.Sprintf("%s %s, +%d, +%d", jumpNames[in.Op&0xf0], operand, in.Jt, in.Jf)
	case classRET:
		if in.Op == classRET|retA {
			return "ret a"
		}
		return fmt.Sprintf("ret #%d", in.K)
	}
	if in.Op == classMISC|miscTAX {
		return "tax"
	}
	return "txa"
}

package cbpf

import (
	"errors"
	"strings"
	"syscall"
	"testing"
)

func repeat(n int, in Instruction) []Instruction {
	prog := make([]Instruction, n)
	for i := range prog {
		prog[i] = in
	}
	return prog
}

var ret0 = Instruction{Op: classRET}

// checkCases are programs that Linux refuses, and what is wrong with them, or
// accepts.
var checkCases = []struct {
	story string
	prog  []Instruction
	fault string // "" if it is accepted
}{
	{"nothing at all", nil, "0 instructions, want 1 to 4096"},
	{"one instruction is a program", []Instruction{ret0}, ""},
	{"one instruction too many", repeat(4097, ret0), "4097 instructions, want 1 to 4096"},
	{"the end must return", []Instruction{ret0, {Op: classLD}}, "instruction 1 (ld #0x0): the last instruction must be ret"},
	{"ret x is BSD's", []Instruction{{Op: classRET | srcX}, ret0}, "instruction 0 (unknown operation 0x000e)"},
	{"high bits of the code count", []Instruction{{Op: 0x100 | classRET}, ret0}, "unknown operation 0x0106"},
	{"a constant division by 0", []Instruction{{Op: classALU | aluDIV}, ret0}, "(div #0x0): division by 0"},
	{"a constant remainder by 0", []Instruction{{Op: classALU | aluMOD}, ret0}, "(mod #0x0): division by 0"},
	{"division by X may be by 0", []Instruction{{Op: classALU | aluDIV | srcX}, ret0}, ""},
	{"shift by 31", []Instruction{{Op: classALU | aluLSH, K: 31}, ret0}, ""},
	{"shift by 32", []Instruction{{Op: classALU | aluRSH, K: 32}, ret0}, "(rsh #0x20): shift by 32, want less than 32"},
	{"a jump to the last instruction", []Instruction{{Op: classJMP | jmpJEQ, Jt: 0, Jf: 1}, ret0, ret0}, ""},
	{"a jump beyond it", []Instruction{{Op: classJMP | jmpJEQ, Jt: 0, Jf: 2}, ret0, ret0}, "(jeq #0x0, +0, +2): jump over 2, but only 2 instructions follow"},
	{"ja backwards", []Instruction{{Op: classJMP, K: 0xffffffff}, ret0}, "jump over 4294967295, but only 1 instructions follow"},
	{"scratch word 15", []Instruction{{Op: classST, K: 15}, {Op: classLD | modeMEM, K: 15}, ret0}, ""},
	{"scratch word 16", []Instruction{{Op: classSTX, K: 16}, ret0}, "(stx M[16]): scratch word 16, want less than 16"},
	{"a scratch word never stored to", []Instruction{{Op: classLDX | modeMEM, K: 3}, ret0}, "(ldx M[3]): scratch word 3 may not have been stored to"},
	{"stored to on one way of two", []Instruction{
		{Op: classJMP | jmpJEQ, Jt: 0, Jf: 1}, {Op: classST}, {Op: classLD | modeMEM}, ret0,
	}, "instruction 2 (ld M[0]): scratch word 0"},
	{"stored to on both ways", []Instruction{
		{Op: classJMP | jmpJEQ, Jt: 0, Jf: 2}, {Op: classST}, {Op: classJMP, K: 1}, {Op: classSTX}, {Op: classLD | modeMEM}, ret0,
	}, ""},
	{"a load that nothing leads to", []Instruction{{Op: classJMP, K: 1}, {Op: classLD | modeMEM, K: 7}, ret0}, ""},
	{"the last ancillary datum", []Instruction{{Op: classLD | modeABS, K: AdOff + adVLANTPID}, ret0}, ""},
	{"one that is not there", []Instruction{{Op: classLD | modeABS, K: AdOff + 64}, ret0}, "ancillary datum 64, want a multiple of 4 up to 60"},
	{"between two ancillary data", []Instruction{{Op: classLD | modeABS | sizeB, K: AdOff + 1}, ret0}, "ancillary datum 1, want"},
	{"the same offset by X is none", []Instruction{{Op: classLD | modeIND, K: AdOff + 1}, ret0}, ""},
	{"nor in a header length load", []Instruction{{Op: classLDX | modeMSH | sizeB, K: AdOff + 1}, ret0}, ""},
	{"a negative offset without meaning", []Instruction{{Op: classLD | modeABS, K: 0x80000000}, ret0}, ""},
	{"jump distances of other instructions", []Instruction{{Op: classRET, Jt: 200, Jf: 200}}, ""},
}

func TestCompileAcceptsWhatLinuxDoes(t *testing.T) {
	for _, c := range checkCases {
		t.Run(c.story, func(t *testing.T) {
			_, err := Compile(c.prog)
			if c.fault == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var refused *CheckError
			if !errors.As(err, &refused) || !errors.Is(err, syscall.EINVAL) {
				t.Fatalf("%v, want a CheckError that is EINVAL", err)
			}
			if !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%q, want %q in it", err, c.fault)
			}
		})
	}
}

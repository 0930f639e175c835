package cbpf

import (
	"fmt"
	"syscall"
)

// CheckError names the instruction for which Linux refuses a program. It unwraps to
// EINVAL, which SO_ATTACH_FILTER returns.
type CheckError struct {
	Index       int         // of the instruction, from 0; -1: the program as a whole
	Instruction Instruction // zero if Index is -1
	Fault       string      // what is wrong with it, and what would be accepted
}

func (e *CheckError) Error() string {
	if e.Index < 0 {
		return "classic BPF program: " + e.Fault
	}
	return fmt.Sprintf("classic BPF instruction %d (%v): %s", e.Index, e.Instruction, e.Fault)
}

func (e *CheckError) Unwrap() error { return syscall.EINVAL }

// check accepts what bpf_check_classic (net/core/filter.c) accepts.
func check(prog []Instruction) error {
	if len(prog) == 0 || len(prog) > maxInstructions {
		return &CheckError{Index: -1, Fault: fmt.Sprintf("%d instructions, want 1 to %d", len(prog), maxInstructions)}
	}
	for i, in := range prog {
		if fault := in.fault(len(prog) - i - 1); fault != "" {
			return &CheckError{i, in, fault}
		}
	}
	if last := prog[len(prog)-1]; last.Op&0x07 != classRET {
		return &CheckError{len(prog) - 1, last, "the last instruction must be ret"}
	}
	return checkScratch(prog)
}

// fault returns what is wrong with one instruction, which after more instructions
// follow; "" if nothing is.
func (in Instruction) fault(after int) string {
	if !in.known() {
		return "not an operation of classic BPF"
	}
	switch in.Op {
	case classALU | aluDIV | srcK, classALU | aluMOD | srcK:
		if in.K == 0 {
			return "division by 0, want another constant"
		}
	case classALU | aluLSH | srcK, classALU | aluRSH | srcK:
		if in.K >= 32 {
			return fmt.Sprintf("shift by %d, want less than 32", in.K)
		}
	case classLD | modeMEM, classLDX | modeMEM, classST, classSTX:
		if in.K >= scratchWords {
			return fmt.Sprintf("scratch word %d, want less than %d", in.K, scratchWords)
		}
	case classLD | sizeW | modeABS, classLD | sizeH | modeABS, classLD | sizeB | modeABS:
		if _, ok := in.Ancillary(); !ok && in.K >= AdOff {
			return fmt.Sprintf("ancillary datum %d, want a multiple of 4 up to %d", in.K-AdOff, adVLANTPID)
		}
	}
	if in.Op&0x07 == classJMP {
		far := in.K
		if in.Op != classJMP|jmpJA {
			far = uint32(max(in.Jt, in.Jf))
		}
		if uint64(far) >= uint64(after) {
			return fmt.Sprintf("jump over %d, but only %d instructions follow", far, after)
		}
	}
	return ""
}

// checkScratch refuses a load from a scratch word to which not every path to the load
// has stored: Linux does not clear the words between packets. An unreachable
// instruction may load any word.
func checkScratch(prog []Instruction) error {
	const all = 1<<scratchWords - 1
	// stored[i]: the words to which every path that jumps to i has stored
	stored := make([]uint16, len(prog))
	for i := range stored {
		stored[i] = all
	}
	var now uint16 // stored to on every path to the current instruction
	for i, in := range prog {
		now &= stored[i]
		switch {
		case in.Op == classST || in.Op == classSTX:
			now |= 1 << in.K
		case in.Op == classLD|modeMEM || in.Op == classLDX|modeMEM:
			if now&(1<<in.K) == 0 {
				return &CheckError{i, in, fmt.Sprintf("scratch word %d may not have been stored to", in.K)}
			}
		case in.Op == classJMP|jmpJA:
			stored[i+1+int(in.K)] &= now
			now = all
		case in.Op&0x07 == classJMP:
			stored[i+1+int(in.Jt)] &= now
			stored[i+1+int(in.Jf)] &= now
			now = all
		}
	}
	return nil
}

package cbpf

import (
	"math"
	"slices"
)

// Truncated returns prog with at most n bytes of each packet accepted, except where a packet
// decides how many (OpRetA). A nil prog accepts every packet.
func Truncated(prog []Instruction, n int) []Instruction {
	if prog == nil {
		return []Instruction{{Op: OpRetK, K: uint32(n)}}
	}
	prog = slices.Clone(prog)
	for i := range prog {
		if in := &prog[i]; in.Op == OpRetK {
			in.K = min(in.K, uint32(n))
		}
	}
	return prog
}

// Untruncated returns prog with each packet that it accepts kept whole; nil if a packet decides how
// many bytes are kept (OpRetA).
func Untruncated(prog []Instruction) []Instruction {
	prog = slices.Clone(prog)
	for i := range prog {
		switch in := &prog[i]; {
		case in.Op == OpRetA:
			return nil
		case in.Op == OpRetK && in.K != 0:
			in.K = math.MaxUint32
		}
	}
	return prog
}

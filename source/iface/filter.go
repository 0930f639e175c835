package iface

import (
	"math"
	"slices"

	"github.com/rxring/rxring/cbpf"
)

// sameToKernel lists the ancillary loads (SKF_AD_*) that return the same value in the kernel
// as here. For the others the kernel's ring has no value, or the value differs each time.
var sameToKernel = []uint32{
	0,      // PROTOCOL
	4,      // PKTTYPE
	12, 16, // NLATTR, NLATTR_NEST
	40,     // ALU_XOR_X
	44, 48, // VLAN_TAG, VLAN_TAG_PRESENT
	52, // PAY_OFFSET
	60, // VLAN_TPID
}

// forKernel returns a program that accepts every packet that a socket of the device accepts;
// nil accepts all. It truncates no packet, since each reader's own filter does.
//
// Different filters cannot be joined: a load outside the packet ends a program with a reject,
// whatever the next one would return.
func forKernel(programs [][]cbpf.Instruction, all bool) (common []cbpf.Instruction) {
	if all {
		return nil
	}
	for _, p := range programs {
		p = uncut(p)
		if p == nil || common != nil && !slices.Equal(p, common) {
			return nil
		}
		common = p
	}
	return common
}

// uncut returns prog as the kernel may run it for the readers, without truncation; nil if it
// may not.
func uncut(prog []cbpf.Instruction) []cbpf.Instruction {
	prog = slices.Clone(prog)
	for i := range prog {
		in := &prog[i]
		ad, ancillary := in.Ancillary()
		switch {
		case in.Op == cbpf.OpRetA:
			return nil
		case in.Op == cbpf.OpRetK && in.K != 0:
			in.K = math.MaxUint32
		case ancillary && !slices.Contains(sameToKernel, ad):
			return nil
		}
	}
	return prog
}

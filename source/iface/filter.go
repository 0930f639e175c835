package iface

import (
	"math"
	"slices"

	"github.com/rxring/rxring/cbpf"
)

// sameToKernel are the ancillary loads that give in the kernel what they give here
// (SKF_AD_*). Of the others the kernel's ring says nothing, or they are another
// number each time.
var sameToKernel = []uint32{
	0,      // PROTOCOL
	4,      // PKTTYPE
	12, 16, // NLATTR, NLATTR_NEST
	40,     // ALU_XOR_X
	44, 48, // VLAN_TAG, VLAN_TAG_PRESENT
	52, // PAY_OFFSET
	60, // VLAN_TPID
}

// forKernel is a program that lets pass what a socket of the device may want, nil
// for everything. What it lets pass it does not cut: that is for each reader's own.
//
// Different filters do not add up to one: a load outside the packet ends a program
// with "no", whatever the next would have said.
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

// uncut is prog as the kernel may run it in a reader's place, nil if it may not.
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

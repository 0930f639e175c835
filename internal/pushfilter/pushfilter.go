// Package pushfilter finds the filter that a source can run where its packets are, in place of
// its device's sockets: in the kernel, or on another host.
package pushfilter

import (
	"math"
	"slices"

	"github.com/rxring/rxring/cbpf"
)

// sameThere lists the ancillary loads (SKF_AD_*) that return the same value where the packets
// are as here. For the others the kernel's ring has no value, or the value differs each time.
var sameThere = []uint32{
	0,      // PROTOCOL
	4,      // PKTTYPE
	12, 16, // NLATTR, NLATTR_NEST
	40,     // ALU_XOR_X
	44, 48, // VLAN_TAG, VLAN_TAG_PRESENT
	52, // PAY_OFFSET
	60, // VLAN_TPID
}

// Common returns a program that accepts every packet that a socket of a device accepts, given
// the results of [github.com/rxring/rxring.Device.Filters]; nil accepts all. It truncates no
// packet, since each reader's own filter does.
//
// Different filters cannot be joined: a load outside the packet ends a program with a reject,
// whatever the next one would return.
func Common(programs [][]cbpf.Instruction, all bool) (common []cbpf.Instruction) {
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

// Snaplen returns how many bytes of a packet the sockets read at most, given the results of
// Device.Filters; 0: there is no limit below most, or none is known.
func Snaplen(programs [][]cbpf.Instruction, all bool, most int) int {
	if all {
		return 0
	}
	snaplen := uint32(0)
	for _, p := range programs {
		for _, in := range p {
			switch in.Op {
			case cbpf.OpRetA:
				return 0
			case cbpf.OpRetK:
				snaplen = max(snaplen, in.K)
			}
		}
	}
	if snaplen >= uint32(most) {
		return 0
	}
	return int(snaplen)
}

// uncut returns prog as it may be run for the readers, without truncation; nil if it may not.
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
		case ancillary && !slices.Contains(sameThere, ad):
			return nil
		}
	}
	return prog
}

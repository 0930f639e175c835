// Package pushfilter finds the filter that a source can run where its packets are, in place of
// its device's sockets: in the kernel, or on another host.
package pushfilter

import (
	"cmp"
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

// Programs returns at most n programs, of which at least one accepts each packet that a socket of a
// device accepts, given the results of [github.com/rxring/rxring.Device.Filters]; nil accepts all.
// They truncate no packet, since each reader's own filter does, and have an order that does not
// depend on that of the sockets. One that accepts nothing is left out, unless it is the only one.
//
// They cannot be joined to one: a load outside the packet ends a program with a reject, whatever
// the next one would return.
func Programs(programs [][]cbpf.Instruction, all bool, n int) (distinct [][]cbpf.Instruction) {
	if all {
		return nil
	}
	for _, p := range programs {
		if p = uncut(p); p == nil {
			return nil
		}
		if len(programs) > 1 && rejects(p) {
			continue
		}
		i, found := slices.BinarySearchFunc(distinct, p, compare)
		if !found {
			distinct = slices.Insert(distinct, i, p)
		}
		if len(distinct) > n {
			return nil
		}
	}
	if distinct == nil && len(programs) > 0 {
		return [][]cbpf.Instruction{rejectAll}
	}
	return distinct
}

var rejectAll = []cbpf.Instruction{{Op: cbpf.OpRetK}}

// rejects reports whether a program accepts no packet, as that with which libpcap begins.
func rejects(prog []cbpf.Instruction) bool {
	return !slices.ContainsFunc(prog, func(in cbpf.Instruction) bool { return in.Op == cbpf.OpRetA || in.Op == cbpf.OpRetK && in.K != 0 })
}

func compare(a, b []cbpf.Instruction) int {
	return slices.CompareFunc(a, b, func(a, b cbpf.Instruction) int {
		return cmp.Or(cmp.Compare(a.Op, b.Op), cmp.Compare(a.K, b.K), cmp.Compare(a.Jt, b.Jt), cmp.Compare(a.Jf, b.Jf))
	})
}

// Common returns the one program of Programs; nil accepts all.
func Common(programs [][]cbpf.Instruction, all bool) []cbpf.Instruction {
	if one := Programs(programs, all, 1); one != nil {
		return one[0]
	}
	return nil
}

// Snaplen returns how many bytes of a packet the sockets and their filters read at most, given the
// results of Device.Filters; 0: there is no limit below most, or none is known.
func Snaplen(programs [][]cbpf.Instruction, all bool, most int) int {
	if all {
		return 0
	}
	snaplen := 0
	for _, p := range programs {
		n, known := cbpf.Extent(p) // the filters run again on the truncated packets
		if !known {
			return 0
		}
		snaplen = max(snaplen, n)
		for _, in := range p {
			switch in.Op {
			case cbpf.OpRetA:
				return 0
			case cbpf.OpRetK:
				snaplen = max(snaplen, int(min(in.K, math.MaxInt32)))
			}
		}
	}
	if snaplen >= most {
		return 0
	}
	return snaplen
}

// uncut returns prog as it may be run for the readers, without truncation; nil if it may not.
func uncut(prog []cbpf.Instruction) []cbpf.Instruction {
	for _, in := range prog {
		if ad, ancillary := in.Ancillary(); ancillary && !slices.Contains(sameThere, ad) {
			return nil
		}
	}
	return cbpf.Untruncated(prog)
}

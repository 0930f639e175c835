package iface

import (
	"math"
	"slices"
	"testing"

	"github.com/rxring/rxring/cbpf"
)

func TestForKernel(t *testing.T) {
	one := func(in ...cbpf.Instruction) [][]cbpf.Instruction { return [][]cbpf.Instruction{in} }
	load := func(ad uint32) [][]cbpf.Instruction {
		return one(cbpf.Instruction{Op: 0x20, K: cbpf.AdOff + ad}, cbpf.Instruction{Op: cbpf.OpRetK, K: 96})
	}
	for what, c := range map[string]struct {
		programs [][]cbpf.Instruction
		all      bool
		pushed   bool
	}{
		"nobody":                             {nil, false, false},
		"somebody wants all":                 {load(0), true, false},
		"two that differ":                    {append(load(0), load(4)...), false, false},
		"two that differ in what they cut":   {append(load(0), []cbpf.Instruction{load(0)[0][0], {Op: cbpf.OpRetK, K: 68}}), false, true},
		"bytes of the packet":                {one(cbpf.Instruction{Op: 0x28, K: 12}, cbpf.Instruction{Op: cbpf.OpRetK, K: 96}), false, true},
		"the packet's length":                {one(cbpf.Instruction{Op: 0x80}, cbpf.Instruction{Op: cbpf.OpRetK, K: 96}), false, true},
		"a verdict that is reckoned":         {one(cbpf.Instruction{Op: 0x80}, cbpf.Instruction{Op: cbpf.OpRetA}), false, false},
		"the VLAN tag":                       {load(44), false, true},
		"the direction":                      {load(4), false, true},
		"a random number":                    {load(56), false, false},
		"the mark, which no ring tells":      {load(20), false, false},
		"the CPU, which no ring tells":       {load(36), false, false},
		"the hash, which each has his own":   {load(32), false, false},
		"the index, which may differ":        {load(8), false, false},
		"the type, which is loopback's here": {load(28), false, false},
	} {
		was := slices.Clone(slices.Concat(c.programs...))
		got := forKernel(c.programs, c.all)
		if (got != nil) != c.pushed {
			t.Errorf("%s: %v", what, got)
		}
		if got != nil && got[len(got)-1].K != math.MaxUint32 {
			t.Errorf("%s: the kernel cuts: %v", what, got)
		}
		if !slices.Equal(slices.Concat(c.programs...), was) {
			t.Errorf("%s: the reader's own is changed", what)
		}
	}
}

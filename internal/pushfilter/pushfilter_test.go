package pushfilter

import (
	"math"
	"slices"
	"testing"

	"github.com/rxring/rxring/cbpf"
)

func TestCommon(t *testing.T) {
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
		got := Common(c.programs, c.all)
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

func TestSnaplen(t *testing.T) {
	ret := func(op uint16, ks ...uint32) (prog []cbpf.Instruction) {
		for _, k := range ks {
			prog = append(prog, cbpf.Instruction{Op: op, K: k})
		}
		return prog
	}
	const most = 262144
	for what, c := range map[string]struct {
		programs [][]cbpf.Instruction
		all      bool
		want     int
	}{
		"none":                   {nil, false, 0},
		"one":                    {[][]cbpf.Instruction{ret(cbpf.OpRetK, 96, 0)}, false, 96},
		"the longest of two":     {[][]cbpf.Instruction{ret(cbpf.OpRetK, 96, 0), ret(cbpf.OpRetK, 1500)}, false, 1500},
		"whole packets":          {[][]cbpf.Instruction{ret(cbpf.OpRetK, 96), ret(cbpf.OpRetK, most)}, false, 0},
		"a socket with no limit": {[][]cbpf.Instruction{ret(cbpf.OpRetK, 96)}, true, 0},
		"a computed length":      {[][]cbpf.Instruction{ret(cbpf.OpRetA, 96)}, false, 0},
		"no packet at all":       {[][]cbpf.Instruction{ret(cbpf.OpRetK, 0)}, false, 0},
		"a filter that reads more than the socket": {[][]cbpf.Instruction{append([]cbpf.Instruction{{Op: cbpf.OpLdAbsH, K: 36}}, ret(cbpf.OpRetK, 20)...)}, false, 38},
		"a filter that reads anywhere":             {[][]cbpf.Instruction{append([]cbpf.Instruction{{Op: 0x07}, {Op: 0x40}}, ret(cbpf.OpRetK, 20)...)}, false, 0},
	} {
		if got := Snaplen(c.programs, c.all, most); got != c.want {
			t.Errorf("%s: %d, want %d", what, got, c.want)
		}
	}
}

func TestPrograms(t *testing.T) {
	reads := func(k uint32) []cbpf.Instruction {
		return []cbpf.Instruction{{Op: cbpf.OpLdAbsH, K: k}, {Op: cbpf.OpRetK, K: 96}}
	}
	a := Programs([][]cbpf.Instruction{reads(3), reads(1), reads(2), reads(1)}, false, 3)
	b := Programs([][]cbpf.Instruction{reads(2), reads(3), reads(1)}, false, 3)
	if len(a) != 3 || !slices.EqualFunc(a, b, slices.Equal) {
		t.Errorf("%v, and in another order %v", a, b)
	}
	if got := Programs([][]cbpf.Instruction{reads(3), reads(1), reads(2)}, false, 2); got != nil {
		t.Errorf("three programs, of which two are allowed: %v", got)
	}
	if got := Programs([][]cbpf.Instruction{reads(3), {{Op: cbpf.OpRetA}}}, false, 2); got != nil {
		t.Errorf("with one that cannot be run elsewhere: %v", got)
	}
	none := []cbpf.Instruction{{Op: cbpf.OpRetK}}
	for _, c := range []struct{ programs, want [][]cbpf.Instruction }{
		{[][]cbpf.Instruction{none}, [][]cbpf.Instruction{none}},
		{[][]cbpf.Instruction{none, {{Op: cbpf.OpLdImm}, {Op: cbpf.OpRetK}}}, [][]cbpf.Instruction{none}},
		{[][]cbpf.Instruction{none, reads(3), none}, Programs([][]cbpf.Instruction{reads(3)}, false, 1)},
	} {
		if got := Programs(c.programs, false, 1); !slices.EqualFunc(got, c.want, slices.Equal) {
			t.Errorf("%v: %v: want %v", c.programs, got, c.want)
		}
	}
}

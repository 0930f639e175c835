package cbpf

import (
	"math"
	"slices"
)

// Filter is a checked program, ready to run. It is immutable: any number of
// goroutines may run it at once.
type Filter struct {
	prog  []Instruction // for interpret
	first *step         // for Run
	attrs int           // the most netlink attributes that one load inspects
}

// Compile checks a program as Linux's bpf_check_classic does. An error is a
// [*CheckError].
//
// Two limits on Linux's translation of a program are not imitated: ENOMEM if it is
// larger than net.core.optmem_max, and EINVAL if a ja jumps over more than 32767 of its
// instructions. Only a program with thousands of loads exceeds them.
func Compile(prog []Instruction) (*Filter, error) {
	if err := check(prog); err != nil {
		return nil, err
	}
	return &Filter{prog: slices.Clone(prog), first: lower(prog), attrs: math.MaxInt}, nil
}

// Constant returns the number of bytes that f accepts of every packet, if it is a program of one
// instruction that returns it (OpRetK).
func (f *Filter) Constant() (n uint32, ok bool) {
	if len(f.prog) == 1 && f.prog[0].Op == OpRetK {
		return f.prog[0].K, true
	}
	return 0, false
}

// Program returns the program that f was compiled from. The caller must not change it.
func (f *Filter) Program() []Instruction { return f.prog }

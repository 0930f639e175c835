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
	attrs int           // that one load looks at
}

// Compile checks a program as Linux's bpf_check_classic does. An error is a
// [*CheckError].
//
// Not imitated are two limits on what Linux translates a program to: ENOMEM if
// that is larger than net.core.optmem_max, EINVAL if a ja leads over more than
// 32767 of its instructions. It takes thousands of loads to get there.
func Compile(prog []Instruction) (*Filter, error) {
	if err := check(prog); err != nil {
		return nil, err
	}
	return &Filter{prog: slices.Clone(prog), first: lower(prog), attrs: math.MaxInt}, nil
}

// Program is the program that f was compiled from. It is not to be changed.
func (f *Filter) Program() []Instruction { return f.prog }

package cbpf

import "slices"

// Filter is a checked program, ready to run. It is immutable: any number of
// goroutines may run it at once.
type Filter struct {
	prog  []Instruction // for interpret
	first *step         // for Run
}

// Compile checks a program as Linux's bpf_check_classic does. An error is a
// [*CheckError].
func Compile(prog []Instruction) (*Filter, error) {
	if err := check(prog); err != nil {
		return nil, err
	}
	return &Filter{prog: slices.Clone(prog), first: lower(prog)}, nil
}

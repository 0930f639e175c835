package cbpf

// Filter is a checked program, ready to run. It is immutable: any number of
// goroutines may run it at once.
type Filter struct {
	prog     []Instruction // for interpret
	steps    []step        // for Run
	verdicts []uint32      // of ret #k: a jump to step len(steps)+i returns verdicts[i]
}

// Compile checks a program as Linux's bpf_check_classic does. An error is a
// [*CheckError].
func Compile(prog []Instruction) (*Filter, error) {
	if err := check(prog); err != nil {
		return nil, err
	}
	f := &Filter{prog: append([]Instruction(nil), prog...)}
	f.lower()
	return f, nil
}

//go:build linux && (amd64 || arm64)

package interpose

import "github.com/rxring/rxring/cbpf"

// setFilter replaces the socket's filter, and counts the packets that were refused while it
// accepted nothing. libpcap has every socket accept nothing, discards the packets that it
// has received already, and then sets the filter of its user: without these counts, a
// program that has no filter seems to have refused packets.
func (k *socket) setFilter(prog []cbpf.Instruction) error {
	before, nothing := uint64(0), acceptsNothing(prog)
	if nothing {
		before = k.rx.Totals().Filtered
	}
	if err := k.rx.AttachFilter(prog); err != nil {
		return err
	}
	if k.refusesAll {
		k.report.Interim += k.rx.Totals().Filtered - k.filteredBefore
	}
	k.refusesAll, k.filteredBefore = nothing, before
	return nil
}

// acceptsNothing reports whether prog is BPF_RET|BPF_K with 0.
func acceptsNothing(prog []cbpf.Instruction) bool {
	return len(prog) == 1 && prog[0].Op == 0x06 && prog[0].K == 0
}

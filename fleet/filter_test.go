package fleet_test

import "github.com/rxring/rxring/cbpf"

// only accepts packets of more than n bytes.
func only(n uint32) []cbpf.Instruction {
	return []cbpf.Instruction{
		{Op: 0x80},              // A = length
		{Op: 0x25, K: n, Jf: 1}, // A > n?
		{Op: cbpf.OpRetK, K: 0xffffffff},
		{Op: cbpf.OpRetK, K: 0},
	}
}
